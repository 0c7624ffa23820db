"""Groups that only their magnitudes move: the fall of `domino` without data, for a fraction of its work.

Without gradients a group's future hangs on its magnitudes alone, whatever their places. A vote asks whether the N-th
largest is above the group's threshold. So a magnitude that has come down to the threshold counts no more while the
pull is positive: the larger ones are always pulled first. What remains of a group are its magnitudes above the
threshold. Of at most N of them all are pulled, which keeps their order. Only groups with more are sorted again after
each step; a vote that has passed leaves few of those.

Where the pull turns negative, what fell below the threshold can rise again. Then the steps are repeated on all
magnitudes. All of it gives the same bits as to sort every group at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.solve.network import merged

__all__ = ["SortedGroups"]

_Floats = NDArray[np.float32]
_Step = tuple[int, np.float32, np.float32]
"""N, pull and learning rate."""
_CHUNK = 1 << 14
"""Groups that are worked on at a time, so that they stay in the processor's cache."""
_STEEP = 0.125
"""A step that changes magnitudes by a larger share may reorder them: rounding can add up to five times its slope."""


class SortedGroups:
    """The magnitudes of one weight's groups while N falls and they are pulled.

    Parameters
    ----------
    load
        Gives the groups as float32, (groups, M); asked again when steps are repeated.
    """

    def __init__(self, load: Callable[[], _Floats]) -> None:
        self._load = load
        self._past: list[_Step] = []
        """What was done since `_whole`, or since the weight was read."""
        self._whole: _Floats | None = None
        """All magnitudes, (M, groups), largest first; None while they are those of the weight and its past."""
        whole, self._threshold = _read(load())
        self.n, self.count = int(whole.shape[0]), int(whole.shape[1])
        self._live: _Live | None = _Live(whole, self._threshold, self.n)

    def below(self) -> int:
        """How many groups have an N-th largest magnitude that isn't above their threshold."""
        if self._live is not None:
            return self.count - self._live.above()
        return int(np.count_nonzero(self._all()[self.n - 1] <= self._threshold))

    def fall(self) -> None:
        """Lower N by one."""
        self.n -= 1
        if self._live is not None:
            self._live.fall()

    def pull(self, lr: float, pull: float) -> None:
        """Pull the N largest of each group: ``w -= lr * (pull * w)``."""
        step = (self.n, np.float32(pull), np.float32(lr))
        if pull > 0 and not _is_steep(step):
            if self._live is None:
                self._live = _Live(self._all(), self._threshold, self.n)
            self._live.pull(step)
            self._past.append(step)
            return
        self._live = None
        _repeat(self._all(), [step])

    def _all(self) -> _Floats:
        """`_whole`, after all that was done."""
        if self._whole is None:
            self._whole, _ = _read(self._load())
        _repeat(self._whole, self._past)
        self._past = []
        return self._whole


class _Live:
    """The magnitudes above the threshold, largest first; smaller ones are any numbers that aren't.

    `_plain` is (N, groups). Groups with more than N are crowded: they are in `_crowd`, (most that any of them has,
    crowded groups), and `_plain` has zeros in their place.
    """

    def __init__(self, whole: _Floats, threshold: _Floats, n: int) -> None:
        self._threshold = threshold
        self._plain, self._room = whole[:n].copy(), n
        crowded = np.flatnonzero(whole[n] > threshold) if n < len(whole) else np.zeros(0, np.intp)
        self._plain[:, crowded] = 0
        self._hold(whole[:, crowded], crowded)

    def above(self) -> int:
        """How many groups have N magnitudes above the threshold, or more."""
        last = len(self._plain) - 1
        return int(
            np.count_nonzero(self._plain[last] > self._threshold)
            + np.count_nonzero(self._crowd[last] > self._crowd_threshold)
        )

    def fall(self) -> None:
        """Lower N by one, and with it the border between plain and crowded groups."""
        n = len(self._plain) - 1
        new = np.flatnonzero(self._plain[n] > self._threshold)
        gained = self._plain[:, new]
        self._plain[:, new] = 0
        self._plain = self._plain[:n]
        if 2 * n <= self._room:  # a view would hold what is no longer needed
            self._plain, self._room = self._plain.copy(), n
        kept, at = self._let_go()
        crowd = np.zeros((max(len(kept), len(gained)), len(at) + len(new)), np.float32)
        crowd[: len(kept), : len(at)] = kept
        crowd[: len(gained), len(at) :] = gained
        self._hold(crowd, np.concatenate([at, new]))

    def pull(self, step: _Step) -> None:
        """Pull the N largest of each group."""
        n = len(self._plain)
        for chunk in _chunks(self._plain):
            _shrink(chunk, step)
        for chunk in _chunks(self._crowd):
            _shrink(chunk[:n], step)
            _merge(chunk, n)
        if len(self._crowd) > n and 2 * np.count_nonzero(self._crowd[n] > self._crowd_threshold) < len(self._at):
            self._hold(*self._let_go())

    def _let_go(self) -> tuple[_Floats, NDArray[np.intp]]:
        """The groups that are still crowded, and their places; the others become plain."""
        n = len(self._plain)
        some = len(self._crowd) > n
        crowded = self._crowd[n] > self._crowd_threshold if some else np.zeros(len(self._at), np.bool_)
        self._plain[:, self._at[~crowded]] = self._crowd[:n, ~crowded]
        return self._crowd[:, crowded], self._at[crowded]

    def _hold(self, crowd: _Floats, at: NDArray[np.intp]) -> None:
        """Keep these crowded groups, with zeros for what isn't above the threshold, in no more rows than are needed."""
        self._at, self._crowd_threshold = at, self._threshold[at]
        crowd = np.where(crowd > self._crowd_threshold, crowd, np.float32(0))
        self._crowd = crowd[: max(len(self._plain), int(np.count_nonzero(crowd.any(axis=1))))]


def _read(groups: _Floats) -> tuple[_Floats, _Floats]:
    """(M, groups) magnitudes, largest first, and (groups,) the mean of each group's lower half."""
    ascending = np.abs(groups)
    ascending.sort(axis=1)
    threshold = ascending[:, : groups.shape[1] // 2].mean(axis=1, dtype=np.float32)
    return np.ascontiguousarray(ascending.T[::-1]), threshold


def _repeat(whole: _Floats, steps: list[_Step]) -> None:
    """Do these steps on all magnitudes, (M, groups), largest first."""
    if not steps:
        return
    for chunk in _chunks(whole):
        rows = np.ascontiguousarray(chunk)
        for step in steps:
            _shrink(rows[: step[0]], step)
            if _is_steep(step):
                rows = np.sort(np.abs(rows), axis=0)[::-1].copy()
            elif step[1] > 0:
                _merge(rows, step[0])
        chunk[...] = rows


def _is_steep(step: _Step) -> bool:
    return not abs(float(step[1]) * float(step[2])) <= _STEEP


def _chunks(rows: _Floats) -> Iterator[_Floats]:
    for start in range(0, rows.shape[1], _CHUNK):
        yield rows[:, start : start + _CHUNK]


def _shrink(rows: _Floats, step: _Step) -> None:
    """The same operations in the same order as on weights with signs, which round alike."""
    change = rows * step[1]
    change *= step[2]
    rows -= change


def _merge(rows: _Floats, n: int) -> None:
    """Sort columns of which the first `n` and the others are sorted, largest first (Batcher 1968, bitonic merge)."""
    if n >= len(rows) or not (rows[n - 1] < rows[n]).any():
        return
    size = 1 << (len(rows) - 1).bit_length()
    work = np.empty((size, rows.shape[1]), np.float32)
    work[:n], work[size - len(rows) + n :] = rows[n - 1 :: -1], rows[n:]  # ascending, then descending
    work[n : size - len(rows) + n] = np.inf  # fills up to a power of two
    work, _ = merged(work, np.empty_like(work), size // 2)
    rows[...] = work[len(rows) - 1 :: -1]

"""Class scores along time, read as a sequence: connectionist temporal classification (Graves et al., 2006)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlankEvidence", "equal_sequences", "winning_classes"]

_Winners = NDArray[np.int64]

_FEWEST_CLASSES = 11
"""Digits and a blank. Taggers with fewer classes have an empty class too, but each position counts."""
_FEWEST_POSITIONS = 8
_LEAST_BLANK = 0.3
_LONGEST_RUN = 2.5
"""Mean length of the runs of one class that isn't the blank. Measured: 1.0 to 1.5 in text recognisers."""


@dataclasses.dataclass(slots=True)
class _Counts:
    positions: int = 0
    blanks: int = 0
    runs: int = 0


class BlankEvidence:
    """Whether a blank is plain: the first or last class wins most positions, and others win in short runs.

    Parameters
    ----------
    classes
        How many there are.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._counts = {blank: _Counts() for blank in (0, classes - 1)}
        self._shortest = np.inf

    def add(self, winners: _Winners) -> None:
        """(samples, positions) winning classes of one batch."""
        self._shortest = min(self._shortest, winners.shape[1])
        for blank, counts in self._counts.items():
            counts.positions += winners.size
            counts.blanks += int(np.count_nonzero(winners == blank))
            counts.runs += sum(map(len, _decoded(winners, blank)))

    @property
    def blank(self) -> int | None:
        """The class that is dropped, None if none is plain."""
        if self._classes < _FEWEST_CLASSES or self._shortest < _FEWEST_POSITIONS:
            return None
        return next((blank for blank, counts in self._counts.items() if _is_blank(counts)), None)


def winning_classes(scores: NDArray[Any], batch_axis: int) -> _Winners:
    """(samples, positions) of scores with three axes: classes last, and samples along the first or the second."""
    winners: _Winners = np.moveaxis(scores.argmax(axis=-1), batch_axis, 0)
    return winners


def equal_sequences(expected: _Winners, got: _Winners, blank: int) -> int:
    """How many samples of (samples, positions) winning classes decode to the same sequence."""
    pairs = zip(_decoded(expected, blank), _decoded(got, blank), strict=True)
    return sum(np.array_equal(left, right) for left, right in pairs)


def _decoded(winners: _Winners, blank: int) -> list[_Winners]:
    """Greedy decoding: a run of one class counts once, and blanks are dropped."""
    first = np.ones(winners.shape, bool)
    first[:, 1:] = winners[:, 1:] != winners[:, :-1]
    return [row[kept] for row, kept in zip(winners, first & (winners != blank), strict=True)]


def _is_blank(counts: _Counts) -> bool:
    others = counts.positions - counts.blanks
    return counts.runs > 0 and counts.blanks >= _LEAST_BLANK * counts.positions and others <= _LONGEST_RUN * counts.runs

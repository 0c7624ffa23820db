"""The order of channels under which N:M groups keep the most saliency.

After Pool and Yu, "Channel Permutations for N:M Sparsity" (NeurIPS 2021): pairs of groups are improved in turn, with
escapes from local optima. Where they try the permutations of a pair, all swaps of its channels are weighed at once
here, over all rows and consumers. If channel `i` leaves its group, the others keep what the group kept less ``loss_i``,
and have ``t_i`` as their N-th largest in a row; then channel `j` in its place adds the sum over rows of
``max(0, s_j - t_i)``. So the gain of every swap is exact, and costs one comparison a row.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme

__all__ = ["PermutationConsumer", "find_permutation", "kept_saliency"]

_Floats = NDArray[np.float32]
_Places = NDArray[np.intp]
_EFFORT = 1_000_000_000
_BLOCK = 1 << 16
"""Elements of a temporary: it stays in a core's cache."""
_LEAST_GAIN = 1e-7
"""Of all that is kept: what gains less may be rounding."""
_PATIENCE = 50
"""Escapes that lead to nothing better before the search ends."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PermutationConsumer:
    """A weight whose N:M groups lie across the channels that are to be permuted.

    Attributes
    ----------
    saliency
        (rows, length) float, not negative: of each weight, as `WeightLayout.to_rows` gives them.
    scheme
        Its M divides `length`. A dense one has no say.
    places
        (channels, copies): where on the axis each channel stands; None if channel `k` stands at place `k`. The search
        leaves out a weight in which one group holds several copies, but its result is judged with it.
    """

    saliency: NDArray[np.floating]
    scheme: NMScheme
    places: _Places | None = None


def kept_saliency(consumer: PermutationConsumer, permutation: _Places | None = None) -> float:
    """Sum of the N largest of every M, after what stood at channel ``permutation[k]`` was put at channel `k`."""
    scheme, saliency = consumer.scheme, consumer.saliency
    if permutation is not None:
        order = np.arange(saliency.shape[1])
        places = _places(consumer)
        order[places] = places[permutation]
        saliency = saliency[:, order]
    groups = saliency.reshape(-1, scheme.m).astype(np.float64, copy=False)
    if not scheme.is_dense:
        groups = np.partition(groups, scheme.m - scheme.n, axis=1)[:, scheme.m - scheme.n :]
    return float(groups.sum())


def find_permutation(
    consumers: Sequence[PermutationConsumer], size: int, *, seed: int = 0, effort: int = _EFFORT
) -> _Places:
    """An order of channels under which the consumers together keep more saliency.

    Parameters
    ----------
    size
        Number of channels.
    seed
        Of the escapes from local optima. The same arguments give the same permutation.
    effort
        Bound on the comparisons of single weights, of which a core does some 5e8 to 1e9 a second.

    Returns
    -------
    (size,) permutation: channel `k` of the new order is ``permutation[k]`` of the old. The identity if nothing better
    was found.
    """
    identity = np.arange(size)
    sparse = [consumer for consumer in consumers if not consumer.scheme.is_dense]
    boards = [board for consumer in sparse for board in _boards(consumer)]
    if not any(board.groups > 1 for board in boards):
        return identity
    starts = (identity, _dealt(boards, size))
    best = max(starts, key=lambda order: sum(board.kept(order) for board in boards))
    found = _Search(boards, best, effort).run(np.random.default_rng(seed))
    before = sum(kept_saliency(consumer) for consumer in sparse)
    after = sum(kept_saliency(consumer, found) for consumer in sparse)
    return found if after > before else identity


def _places(consumer: PermutationConsumer) -> _Places:
    return np.arange(consumer.saliency.shape[1]).reshape(-1, 1) if consumer.places is None else consumer.places


def _boards(consumer: PermutationConsumer) -> Iterator[_Board]:
    """One board for each copy of the channels, if no two copies of any stand in the same group."""
    places, m = _places(consumer), consumer.scheme.m
    touched = [np.unique(column // m) for column in places.T]
    if len(np.unique(np.concatenate(touched))) == sum(map(len, touched)):
        for column, groups in zip(places.T, touched, strict=True):
            yield _Board(consumer, column, groups)


def _dealt(boards: Sequence[_Board], size: int) -> _Places:
    """The channels from the most to the least salient, dealt out to the groups of the largest board in turn."""
    largest = max(boards, key=lambda board: float(board.weight.sum()))
    salient = np.argsort(-sum((board.weight for board in boards), np.zeros(size)), kind="stable")
    order = np.empty(size, np.intp)
    order[np.lexsort((largest.group, largest.offset))] = salient
    return order


class _Board:
    """One weight, or one copy of the channels in it: what each of its groups keeps, and what each swap would change.

    A slot is where a channel may stand; `group` and `offset` (slots,) say where in `values`, the (groups, M, rows)
    saliencies as they stand now. The channel at slot `i` is one that its group loses ``losses[i]`` without, the N-th
    largest of the others being ``thresholds[i]`` (rows,).
    """

    def __init__(self, consumer: PermutationConsumer, places: _Places, groups: _Places) -> None:
        self.m, self._keep = consumer.scheme.m, consumer.scheme.n
        saliency = np.ascontiguousarray(consumer.saliency.T, np.float32)
        self.group = np.searchsorted(groups, places // self.m)
        self.offset = places % self.m
        self.groups = len(groups)
        self.channels: _Floats = saliency[places]
        self._values: _Floats = saliency.reshape(-1, self.m, saliency.shape[1])[groups]
        self._thresholds: _Floats = np.zeros_like(self.channels)
        self._losses: _Floats = np.zeros(len(places), np.float32)
        self._kept = np.zeros(self.groups)

    @property
    def weight(self) -> NDArray[np.float64]:
        """(channels,) their saliencies, over all rows."""
        total: NDArray[np.float64] = self.channels.sum(axis=1, dtype=np.float64)
        return total

    @property
    def now(self) -> float:
        """What is kept as the channels stand."""
        return float(self._kept.sum())

    def kept(self, order: _Places) -> float:
        """What would be kept under `order`."""
        values = self._values.copy()
        values[self.group, self.offset] = self.channels[order]
        first = self.m - self._keep
        return float(np.partition(values, first, axis=1)[:, first:].sum(dtype=np.float64))

    def put(self, slots: _Places, channels: _Places) -> _Places:
        """Put channels at slots and weigh their groups anew; all slots of those groups."""
        self._values[self.group[slots], self.offset[slots]] = self.channels[channels]
        groups = np.unique(self.group[slots])
        first = self.m - self._keep
        ordered = np.partition(self._values[groups], (first - 1, first), axis=1)
        self._kept[groups] = ordered[:, first:].sum(axis=(1, 2), dtype=np.float64)
        renewed = np.flatnonzero(np.isin(self.group, groups))
        where = np.searchsorted(groups, self.group[renewed])
        last_in, first_out = ordered[where, first], ordered[where, first - 1]
        present = self._values[self.group[renewed], self.offset[renewed]]
        kept = present >= last_in
        self._losses[renewed] = np.where(kept, present - first_out, 0).sum(axis=1)
        self._thresholds[renewed] = np.where(kept, first_out, last_in)
        return renewed

    def changes(self, slots: _Places, channels: _Places) -> _Floats:
        """(slot, slot): what the group of the first gains if the channel of the second comes there for its own."""
        arriving = self.channels[channels]
        thresholds = self._thresholds[slots]
        ones = np.ones(arriving.shape[1], np.float32)
        step = max(1, _BLOCK // arriving.size)
        change: _Floats = np.empty((len(slots), len(slots)), np.float32)
        for start in range(0, len(slots), step):
            room = arriving - thresholds[start : start + step, None]
            np.maximum(room, 0, out=room)
            np.matmul(room, ones, out=change[start : start + step])
        change -= self._losses[slots, None]
        change[self.group[slots, None] == self.group[slots]] = 0
        return change

    def copy(self) -> _Board:
        """The same board, to be changed on its own."""
        twin = copy.copy(self)
        for name in ("_values", "_thresholds", "_losses", "_kept"):
            setattr(twin, name, getattr(self, name).copy())
        return twin


class _Search:
    """Descents by swaps, each from a disturbed copy of the best order so far, within an effort.

    A descent visits pairs of groups of the board with the largest groups, and swaps channels of the pair while that
    gains anything. It ends when no group has changed since it was last paired with every other.
    """

    def __init__(self, boards: Sequence[_Board], order: _Places, effort: int) -> None:
        self._boards = list(boards)
        self._order: _Places = order.copy()
        self._left = effort
        widest = max(boards, key=lambda board: (board.m, float(board.weight.sum())))
        self._cluster = widest.group
        self._slots = [np.flatnonzero(self._cluster == group) for group in range(widest.groups)]
        self._clock = 0
        self._visited = np.full((widest.groups, widest.groups), -1)
        self._changed = np.zeros(widest.groups, np.intp)
        self._put(np.arange(len(order)), order)

    def run(self, rng: np.random.Generator) -> _Places:
        """The best order found."""
        self._descend(rng)
        fruitless = 0
        while self._left > 0 and fruitless < _PATIENCE:
            boards, order, kept = [board.copy() for board in self._boards], self._order.copy(), self._kept()
            visited, changed = self._visited.copy(), self._changed.copy()
            self._disturb(rng)
            self._descend(rng)
            fruitless += 1
            if self._kept() > kept * (1 + _LEAST_GAIN):
                fruitless = 0
            else:
                self._boards, self._order = boards, order
                self._visited, self._changed = visited, changed
        return self._order

    def _kept(self) -> float:
        return sum(board.now for board in self._boards)

    def _put(self, slots: _Places, channels: _Places) -> None:
        self._order[slots] = channels
        for board in self._boards:
            self._changed[self._cluster[board.put(slots, channels)]] = self._clock
            self._left -= len(slots) * board.channels.shape[1]

    def _descend(self, rng: np.random.Generator) -> None:
        pairs = np.column_stack(np.triu_indices(len(self._slots), k=int(len(self._slots) > 1)))
        settled = False
        while not settled:
            settled = True
            for first, second in rng.permutation(pairs).tolist():
                if self._visited[first, second] < max(self._changed[first], self._changed[second]):
                    if self._left <= 0:
                        return
                    settled &= not self._visit(first, second)

    def _visit(self, first: int, second: int) -> bool:
        """Swap channels of two groups, the best swap first; whether there was any to gain by."""
        slots = self._slots[first] if first == second else np.concatenate([self._slots[first], self._slots[second]])
        least = _LEAST_GAIN * self._kept()
        swapped = False
        self._clock += 1
        while self._left > 0:
            gain = self._swap_gains(slots)
            one, other = divmod(int(gain.argmax()), len(slots))
            if gain[one, other] <= least:
                break
            pair = slots[[one, other]]
            self._put(pair, self._order[pair[::-1]])
            swapped = True
        self._visited[first, second] = self._clock
        return swapped

    def _swap_gains(self, slots: _Places) -> _Floats:
        """(slot, slot): what exchanging the channels of two of these slots gains on all boards."""
        gain = np.zeros((len(slots), len(slots)), np.float32)
        for board in self._boards:
            gain += board.changes(slots, self._order[slots])
            self._left -= gain.size * board.channels.shape[1]
        symmetric: _Floats = gain + gain.T
        return symmetric

    def _disturb(self, rng: np.random.Generator) -> None:
        """Send a few channels round in a circle."""
        count = min(len(self._order), int(rng.integers(3, 7)))
        slots = rng.choice(len(self._order), count, replace=False)
        self._clock += 1
        self._put(slots, self._order[np.roll(slots, 1)])

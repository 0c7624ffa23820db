"""Weights in aligned fours: how many fours hold more non-zeros than sparse tensor cores take, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import WeightLayout
from domino_onnx.targets.tensorrt import FOUR, KEPT_OF_FOUR

__all__ = ["FourCounts", "count_fours", "is_legal", "legal_energy", "obeys_flattened", "obeys_on_axis"]

_WEIGHTS = 1 << 17


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FourCounts:
    """What the fours of one weight hold.

    Attributes
    ----------
    count, broken
        How many there are, and how many hold more than two non-zeros.
    zeros
        In the whole weight.
    first
        Index, in the stored tensor, of the first weight of the first broken four: in the order of rows, that is output
        channel, then kernel position. None if none is broken.
    """

    count: int
    broken: int
    zeros: int
    first: tuple[int, ...] | None

    @property
    def is_legal(self) -> bool:
        """Whether every four holds at most two non-zeros."""
        return self.broken == 0

    @property
    def broken_share(self) -> float:
        """0 to 1."""
        return self.broken / self.count if self.count else 0.0


def count_fours(weight: NDArray[np.generic], layout: WeightLayout) -> FourCounts:
    """Count the fours along the reduction axis; a shorter one at the end of a row counts as if filled up with zeros.

    `weight` is of any dtype, in the stored shape; -0.0 is zero.
    """
    kept = layout.to_rows(weight != 0)
    filled = _fours(kept)
    broken = np.count_nonzero(filled, axis=2) > KEPT_OF_FOUR
    first = None
    if broken.any():
        row, four = divmod(int(broken.argmax()), broken.shape[1])
        first = _stored_index(layout, row, four * FOUR)
    return FourCounts(
        count=broken.size,
        broken=int(np.count_nonzero(broken)),
        zeros=kept.size - int(np.count_nonzero(kept)),
        first=first,
    )


def is_legal(weight: NDArray[np.generic], layout: WeightLayout) -> bool:
    """Whether every four along the reduction axis holds at most two non-zeros, a shorter one at its end as well."""
    stack = _stacked(weight, layout)
    for start, step in _strides(stack):
        kept = stack[start : start + step] != 0
        if bool((kept.sum(axis=1, dtype=np.uint8) > KEPT_OF_FOUR).any()):
            return False
    return True


def legal_energy(weight: NDArray[np.generic], layout: WeightLayout) -> tuple[float, float]:
    """The sum of squares that the two largest of each four hold, and that of the whole weight."""
    held, whole = 0.0, 0.0
    stack = _stacked(weight, layout)
    for start, step in _strides(stack):
        first, second, third, fourth = np.square(stack[start : start + step].astype(np.float64)).swapaxes(0, 1)
        high, low = np.maximum(first, second), np.minimum(first, second)
        high_too, low_too = np.maximum(third, fourth), np.minimum(third, fourth)
        largest, next_largest = np.maximum(high, high_too), np.minimum(high, high_too)
        next_largest = np.maximum(next_largest, np.maximum(low, low_too))
        held += float(largest.sum(dtype=np.float64)) + float(next_largest.sum(dtype=np.float64))
        whole += sum(float(each.sum(dtype=np.float64)) for each in (first, second, third, fourth))
    return held, whole


def _stacked(weight: NDArray[np.generic], layout: WeightLayout) -> NDArray[np.generic]:
    """(blocks, 4, width), each four along the middle axis; without a copy where the axis holds whole fours."""
    if layout.reduction % FOUR == 0:
        return layout.stacked(weight, FOUR)
    return _fours(layout.to_rows(weight)).reshape(-1, FOUR, 1)


def _strides(stack: NDArray[np.generic]) -> Iterator[tuple[int, int]]:
    """Where stretches of blocks begin that fit into a processor's cache, and how many blocks they have."""
    step = max(_WEIGHTS // (stack.shape[1] * stack.shape[2]), 1)
    return ((start, step) for start in range(0, len(stack), step))


def obeys_flattened(weight: NDArray[np.generic], layout: WeightLayout) -> bool:
    """Whether the fours of a convolution are right on channels and kernel flattened together, as some tools group.

    `layout` is a convolution's whose weight is stored as (O, I, *kernel); False for a kernel of one position, where
    that is no different.
    """
    rows = (weight != 0).reshape(layout.shape[0], -1)
    return layout.rows > layout.shape[0] and bool((np.count_nonzero(_fours(rows), axis=2) <= KEPT_OF_FOUR).all())


def obeys_on_axis(weight: NDArray[np.generic], layout: WeightLayout) -> int | None:
    """Another axis along which the weight holds at most two of each four, the first; None if there is none."""
    kept = weight != 0
    for axis, size in enumerate(layout.shape):
        if axis == layout.axis or size % FOUR:
            continue
        rows = np.moveaxis(kept, axis, -1).reshape(-1, size)
        if bool((np.count_nonzero(_fours(rows), axis=2) <= KEPT_OF_FOUR).all()):
            return axis
    return None


def _fours(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """(rows, fours, 4), the last four of each row filled up with zeros."""
    missing = -rows.shape[1] % FOUR
    padded = np.pad(rows, ((0, 0), (0, missing))) if missing else rows
    return padded.reshape(len(rows), -1, FOUR)


def _stored_index(layout: WeightLayout, row: int, place: int) -> tuple[int, ...]:
    """Where a weight of `WeightLayout.to_rows` lies in the stored tensor."""
    moved = (*layout.shape[: layout.axis], *layout.shape[layout.axis + 1 :], layout.shape[layout.axis])
    index = [int(each) for each in np.unravel_index(row * layout.reduction + place, moved)]
    return (*index[: layout.axis], index[-1], *index[layout.axis : -1])

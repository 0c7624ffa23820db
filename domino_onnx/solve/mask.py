"""Masks: which weights of each group are kept."""

from __future__ import annotations

import itertools
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve.network import fits_network, sorted_columns

__all__ = ["keep_largest", "magnitude_mask", "masked", "obeys", "rank"]

_Float = TypeVar("_Float", bound=np.floating)
_Stored = TypeVar("_Stored", bound=np.generic)
_FOUR, _OF_FOUR = 4, 2
_FEW, _CHUNK = 128, 1 << 13
"""Rows that numpy sorts faster one by one; and columns that are sorted at once, so that they stay in the cache."""


def keep_largest(groups: NDArray[np.floating], scheme: NMScheme) -> NDArray[np.bool_]:
    """True at the N largest entries of each row of `groups` that the scheme allows together, exactly N a row.

    Of equal entries the one further left is kept, always. `groups` is (rows, M) and holds no NaN.
    """
    return rank(groups, scheme)[0]


def rank(groups: NDArray[_Float], scheme: NMScheme) -> tuple[NDArray[np.bool_], NDArray[_Float]]:
    """The mask of `keep_largest`, and (rows,) the smallest entry that it keeps.

    Under `NMScheme.two_of_four` the masks that are allowed are the independent sets of a matroid (a partition, cut off
    at N), so the two largest of each four, and of those the N largest, have the largest sum that there is.
    """
    mask, smallest_kept = np.empty(groups.shape, np.bool_), np.empty(len(groups), groups.dtype)
    for start in range(0, len(groups), _CHUNK):
        part = slice(start, start + _CHUNK)
        kept, smallest_kept[part] = _rank_columns(np.ascontiguousarray(groups[part].T), scheme)
        mask[part] = kept.T
    return mask, smallest_kept


def _rank_columns(columns: NDArray[_Float], scheme: NMScheme) -> tuple[NDArray[np.bool_], NDArray[_Float]]:
    """As `rank`, for (M, groups)."""
    n, m = scheme.n, len(columns)
    if n == m:
        return np.ones(columns.shape, np.bool_), columns.min(axis=0)
    entries = _two_of_each_four(columns) if scheme.two_of_four else columns
    if fits_network(m) and columns.shape[1] >= _FEW:
        ascending = sorted_columns(entries.copy())
    else:
        ascending = np.sort(entries, axis=0)
    smallest_kept = ascending[m - n].copy()
    kept = entries >= smallest_kept
    # Values sort several times faster than indices, which only groups need whose border runs between equals.
    tied = np.flatnonzero(ascending[m - n - 1] == smallest_kept)
    order = np.argsort(-entries[:, tied], axis=0, kind="stable")
    kept[order[n:], tied] = False
    return kept, smallest_kept


def _two_of_each_four(columns: NDArray[_Float]) -> NDArray[_Float]:
    """The entries that may be kept, minus infinity elsewhere: those that at most one of their four comes before.

    Six comparisons are several times faster than sorting fours.
    """
    fours = columns.reshape(-1, _FOUR, columns.shape[1])
    before = np.zeros(fours.shape, np.uint8)
    for left, right in itertools.combinations(range(_FOUR), 2):
        left_first = fours[:, left] >= fours[:, right]  # of equals the one further left
        before[:, right] += left_first
        before[:, left] += ~left_first
    return np.where(before < _OF_FOUR, fours, fours.dtype.type(-np.inf)).reshape(columns.shape)


def magnitude_mask(weight: NDArray[np.generic], layout: WeightLayout, scheme: NMScheme) -> NDArray[np.bool_]:
    """Keep the N largest magnitudes of every M consecutive weights along the reduction axis.

    Parameters
    ----------
    weight
        Any float dtype, in the stored shape; compared in its own precision (bfloat16 through float32, which is exact).

    Returns
    -------
    Boolean mask in the stored shape, exactly N True in each group; ties keep the weight further left.
    """
    mask = np.empty(layout.shape, np.bool_)
    stack, kept = layout.stacked(weight, scheme.m), layout.stacked(mask, scheme.m)
    _, m, width = stack.shape
    step = max(_CHUNK // width, 1)
    for start in range(0, len(stack), step):
        part: NDArray[np.floating] = np.abs(comparable(stack[start : start + step])).swapaxes(0, 1)
        columns, _ = _rank_columns(part.reshape(m, -1), scheme)
        kept[start : start + step] = columns.reshape(part.shape).swapaxes(0, 1)
    return mask


def masked(values: NDArray[_Stored], mask: NDArray[np.bool_]) -> NDArray[_Stored]:
    """`values` where the mask is True, and +0.0 elsewhere, NaN and infinities too.

    Bits times 0 or 1: `np.where` branches at each value, and takes several times as long where a mask has no pattern.
    """
    bits = values.view(np.dtype(f"u{values.itemsize}"))
    kept: NDArray[_Stored] = np.multiply(bits, mask, dtype=bits.dtype).view(values.dtype)
    return kept


def obeys(weight: NDArray[np.generic], layout: WeightLayout, scheme: NMScheme) -> bool:
    """Whether every group holds at most N non-zeros, and every four at most two if the scheme says so; -0.0 is zero."""
    kept = layout.to_rows(weight != 0)
    within = bool((np.count_nonzero(kept.reshape(-1, scheme.m), axis=1) <= scheme.n).all())
    return within and (
        not scheme.two_of_four or bool((np.count_nonzero(kept.reshape(-1, _FOUR), axis=1) <= _OF_FOUR).all())
    )


def comparable(weight: NDArray[np.generic]) -> NDArray[np.floating]:
    """`weight` in a type that numpy sorts: itself, or float32 for the half types."""
    if weight.dtype == np.float64:
        return weight.astype(np.float64, copy=False)
    return weight.astype(np.float32, copy=False)

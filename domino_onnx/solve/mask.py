"""Masks: which weights of each group are kept."""

from __future__ import annotations

import itertools
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, WeightLayout

__all__ = ["keep_largest", "magnitude_mask", "obeys", "rank"]

_Float = TypeVar("_Float", bound=np.floating)
_FOUR, _OF_FOUR = 4, 2


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
    return _rank(_two_of_each_four(groups) if scheme.two_of_four else groups, scheme.n)


def _two_of_each_four(groups: NDArray[_Float]) -> NDArray[_Float]:
    """The entries that may be kept, minus infinity elsewhere: those that at most one of their four comes before.

    Six comparisons are several times faster than sorting fours.
    """
    fours = groups.reshape(-1, _FOUR)
    before = np.zeros(fours.shape, np.uint8)
    for left, right in itertools.combinations(range(_FOUR), 2):
        left_first = fours[:, left] >= fours[:, right]  # of equals the one further left
        before[:, right] += left_first
        before[:, left] += ~left_first
    return np.where(before < _OF_FOUR, fours, fours.dtype.type(-np.inf)).reshape(groups.shape)


def _rank(groups: NDArray[_Float], n: int) -> tuple[NDArray[np.bool_], NDArray[_Float]]:
    m = groups.shape[1]
    if n == m:
        return np.ones(groups.shape, np.bool_), groups.min(axis=1)
    ascending = np.sort(groups, axis=1)
    smallest_kept = ascending[:, m - n].copy()
    kept = groups >= smallest_kept[:, None]
    # Values sort several times faster than indices, which only rows need whose border runs between equals.
    tied = np.flatnonzero(ascending[:, m - n - 1] == smallest_kept)
    order = np.argsort(-groups[tied], axis=1, kind="stable")
    kept[tied[:, None], order[:, n:]] = False
    return kept, smallest_kept


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
    groups: NDArray[np.floating] = layout.to_groups(np.abs(comparable(weight)), scheme.m)
    return layout.from_rows(keep_largest(groups, scheme).reshape(layout.rows, layout.reduction))


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

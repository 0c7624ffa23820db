"""Which of many points in three measures are no better than another one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dominated"]

_WORST = np.iinfo(np.int64).max


def dominated(costs: NDArray[np.int64], losses: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where another point is as low or lower in every measure; of equal points the first is kept.

    A merge sort from the bottom up, all blocks of a level at once: in order of the first cost, only points of a block's
    left half can dominate those of its right half, and then whatever has no larger second cost and no larger loss does.

    Parameters
    ----------
    costs
        (points, 2).
    losses
        (points,).
    """
    order = np.lexsort((losses, costs[:, 1], costs[:, 0]))
    points = len(order)
    size = 1 << (points - 1).bit_length()
    second, loss = np.full((2, size), _WORST)
    second[:points], loss[:points] = costs[order, 1], losses[order]
    dead = np.zeros(size, np.bool_)
    merged = np.arange(size)
    for width in (1 << level for level in range(1, size.bit_length())):
        merged = _sorted_rows(merged.reshape(-1, width), second)
        right = merged % width >= width // 2
        lowest = np.minimum.accumulate(np.where(right, _WORST, loss[merged]), axis=1)
        dead[merged[right & (lowest <= loss[merged])]] = True
    result = np.empty(points, np.bool_)
    result[order] = dead[:points]
    return result


def _sorted_rows(rows: NDArray[np.intp], keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Each row in order of its points' keys; of equal keys what stood further left comes first."""
    return np.take_along_axis(rows, np.argsort(keys[rows], axis=1, kind="stable"), axis=1)

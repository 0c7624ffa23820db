"""Many short columns sorted at once, by comparisons of whole rows (Batcher 1968, bitonic sort).

Sorting row by row takes numpy several times longer: here each operation works on thousands of columns.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["fits_network", "merged", "sorted_columns"]

_Float = TypeVar("_Float", bound=np.floating[Any])
_MOST_ROWS = 64


def fits_network(rows: int) -> bool:
    """Whether columns of this length can be sorted here: powers of two, not so long that numpy's own sort is faster."""
    return 2 <= rows <= _MOST_ROWS and rows & (rows - 1) == 0


def sorted_columns(columns: NDArray[_Float]) -> NDArray[_Float]:
    """(rows, columns) with each column ascending; `columns` is used up. No NaN; the rows are a power of two."""
    other = np.empty_like(columns)
    width = 1
    while width < len(columns):
        pairs, joined = (each.reshape(-1, 2, width, columns.shape[1]) for each in (columns, other))
        np.minimum(pairs[:, 0], pairs[:, 1, ::-1], out=joined[:, 0])
        np.maximum(pairs[:, 0], pairs[:, 1, ::-1], out=joined[:, 1, ::-1])
        columns, other = merged(other, columns, width // 2)
        width *= 2
    return columns


def merged(work: NDArray[_Float], other: NDArray[_Float], width: int) -> tuple[NDArray[_Float], NDArray[_Float]]:
    """Sort bitonic stretches of ``2 * width`` rows, ascending. Both arrays are given back, the sorted one first."""
    while width:
        pairs, joined = (each.reshape(-1, 2, width, work.shape[1]) for each in (work, other))
        np.minimum(pairs[:, 0], pairs[:, 1], out=joined[:, 0])
        np.maximum(pairs[:, 0], pairs[:, 1], out=joined[:, 1])
        work, other, width = other, work, width // 2
    return work, other

"""Erdos-Renyi-Kernel densities (Evci et al., RigL, ICML 2020, section 3), as DominoSearch uses them."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["erk_densities"]


def erk_densities(shapes: Sequence[Sequence[int]], density: float) -> list[float]:
    """Density of each weight, proportional to sum(shape) / prod(shape), so that all together have `density`.

    Weights for which that is more than 1 stay dense, and the others give more.

    Parameters
    ----------
    shapes
        Weight shapes, kernel axes included.
    density
        Share of all weights that is kept, 0 to 1.
    """
    sizes = [math.prod(shape) for shape in shapes]
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    dense: set[int] = set()
    while True:
        free = [index for index in range(len(shapes)) if index not in dense]
        if not free:
            return [1.0] * len(shapes)
        wanted = density * sum(sizes) - sum(sizes[index] for index in dense)
        scale = max(wanted, 0.0) / sum(raw[index] * sizes[index] for index in free)
        largest = max(raw[index] for index in free)
        if scale * largest <= 1:
            return [1.0 if index in dense else scale * raw[index] for index in range(len(shapes))]
        dense |= {index for index in free if raw[index] == largest}

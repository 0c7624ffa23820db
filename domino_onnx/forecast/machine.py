"""How fast is this machine at what the search and the refit spend their time on? Measured in a fifth of a second."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme
from domino_onnx.solve import keep_largest, one_blas_thread

__all__ = ["Machine"]

_LARGE = 192
"""Rows and columns of the products that are timed."""
_SMALL = (8, 32, 96, 192)
"""Sizes of the systems that are timed; between them, and beyond, powers are drawn through the neighbours."""
_STACKED = 1 << 16
"""Numbers in a stack of these systems."""
_TRIES = 4
"""Of each the fastest counts: others may have had to wait for another program."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Seconds of single operations, on one thread.

    Attributes
    ----------
    float32, float64
        Of a multiply-accumulate in a large product.
    spectrum
        Of the eigenvalues and vectors of a symmetric float32 matrix, by the cube of its size.
    inverses, systems
        Of inverting one float32 matrix in a stack, and of solving one float64 system, by the sizes of `_SMALL`.
    ranked
        Of one weight where groups of 16 are ranked.
    moved
        Of one float32 number where activations are laid out anew.
    """

    float32: float
    float64: float
    spectrum: float
    inverses: tuple[float, ...]
    systems: tuple[float, ...]
    ranked: float
    moved: float

    @classmethod
    def usual(cls) -> Machine:
        """A machine of these years: enough to tell whether a run may be a long one."""
        return cls(
            float32=2.5e-11,
            float64=5e-11,
            spectrum=6e-10,
            inverses=(3.6e-6, 2.5e-5, 5e-4, 2.5e-3),
            systems=(8.5e-7, 9e-6, 6.3e-5, 3.2e-4),
            ranked=4.5e-9,
            moved=1.4e-9,
        )

    @classmethod
    @one_blas_thread
    def measured(cls) -> Machine:
        """Time each of them."""
        rows = np.random.default_rng(0).standard_normal((_LARGE, _LARGE)).astype(np.float32)
        square = (rows @ rows.T / _LARGE + np.eye(_LARGE)).astype(np.float32)
        wide = np.ascontiguousarray(np.broadcast_to(rows.reshape(1, -1, 96, 64), (16, rows.size // 6144, 96, 64)))
        groups = rows.reshape(-1, 16)
        large = rows.astype(np.float64)
        return cls(
            float32=_seconds(lambda: rows @ rows) / _LARGE**3,
            float64=_seconds(lambda: large @ large) / _LARGE**3,
            spectrum=_seconds(lambda: np.linalg.eigh(square)) / _LARGE**3,
            inverses=tuple(_of_stack(square, size, np.linalg.inv) for size in _SMALL),
            systems=tuple(_of_stack(square.astype(np.float64), size, _solve) for size in _SMALL),
            ranked=_seconds(lambda: keep_largest(groups, NMScheme(4, 16))) / groups.size,
            moved=_seconds(lambda: np.ascontiguousarray(np.moveaxis(wide, 1, -1))) / wide.size,
        )

    def inverse(self, size: int) -> float:
        """Seconds of inverting one float32 matrix of this size in a stack."""
        return _between(self.inverses, size)

    def system(self, size: int) -> float:
        """Seconds of solving one float64 system of this size in a stack."""
        return _between(self.systems, size)


def _seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def _of_stack(square: NDArray[np.floating], size: int, work: Callable[[NDArray[np.floating]], object]) -> float:
    count = max(_STACKED // size**2, 1)
    stack = np.ascontiguousarray(np.broadcast_to(square[:size, :size], (count, size, size)))
    return _seconds(lambda: work(stack)) / count


def _solve(stack: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.linalg.solve(stack, stack[:, :, :1])


def _between(known: tuple[float, ...], size: int) -> float:
    """On a line in logarithms through the two neighbours; beyond the last by the cube."""
    if size >= _SMALL[-1]:
        return known[-1] * (size / _SMALL[-1]) ** 3
    at = next((place for place in range(1, len(_SMALL) - 1) if size <= _SMALL[place]), len(_SMALL) - 1)
    left, right = _SMALL[at - 1], _SMALL[at]
    slope = math.log(known[at] / known[at - 1]) / math.log(right / left)
    return known[at] * math.exp(slope * math.log(max(size, 1) / right))

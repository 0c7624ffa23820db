"""Second moments of a site's inputs and of the outputs that are wanted: all that a least-squares refit needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "finite_positions"]

_CHUNK = 8192
_Float64 = NDArray[np.float64]


def finite_positions(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Of (blocks, positions, anything) arrays the positions at which all of them are finite in every block.

    Models make NaN of a row that is masked wholly. One of these would spoil every sum.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if all(np.isfinite(array.sum(dtype=np.float32)) for array in arrays):  # a pass that is nearly free
            return arrays
    kept = np.logical_and.reduce([np.isfinite(array).all(axis=(0, 2)) for array in arrays])
    return arrays if kept.all() else tuple(array[:, kept] for array in arrays)


@dataclasses.dataclass(slots=True)
class Moments:
    """Sums over positions, block by block; float64, of products in float32 over at most 8192 positions each.

    Products are taken of what differs from the means of those positions, which float32 can hold where the means are
    large; what the means themselves add is exact.

    Attributes
    ----------
    count
        Number of positions.
    xx, x
        (blocks, features, features) and (blocks, features): sums of the features' products, and of the features.
    yx, y, yy
        (blocks, outputs, features), (blocks, outputs), (blocks, outputs): of the wanted outputs with the features,
        of the outputs, and of their squares.
    """

    xx: _Float64
    x: _Float64
    yx: _Float64
    y: _Float64
    yy: _Float64
    count: int = 0

    @classmethod
    def empty(cls, blocks: int, outputs: int, features: int) -> Moments:
        """No positions yet."""
        return cls(
            xx=np.zeros((blocks, features, features)),
            x=np.zeros((blocks, features)),
            yx=np.zeros((blocks, outputs, features)),
            y=np.zeros((blocks, outputs)),
            yy=np.zeros((blocks, outputs)),
        )

    def add(self, features: NDArray[Any], wanted: NDArray[Any]) -> None:
        """Take in (blocks, positions, features) and (blocks, positions, outputs) where they are finite.

        Sums of squares may become infinite.
        """
        features, wanted = finite_positions(features, wanted)
        self.count += features.shape[1]
        for start in range(0, features.shape[1], _CHUNK):
            x = features[:, start : start + _CHUNK].astype(np.float32, copy=False)
            y = wanted[:, start : start + _CHUNK].astype(np.float32, copy=False)
            for block in range(len(x)):
                with np.errstate(over="ignore", invalid="ignore"):
                    self._add_chunk(block, x[block], y[block])

    def _add_chunk(self, block: int, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Sums of ``(c + d) (c + d)^T`` from those of ``d d^T`` and ``d``, where `c` is near the mean."""
        x_centre, y_centre = _mean(x), _mean(y)
        dx, dy = x - x_centre.astype(np.float32), y - y_centre.astype(np.float32)
        x_rest, y_rest = dx.sum(axis=0, dtype=np.float64), dy.sum(axis=0, dtype=np.float64)
        x_sum, y_sum = x_rest + len(x) * x_centre, y_rest + len(y) * y_centre
        self.xx[block] += dx.T @ dx + (np.outer(x_centre, x_sum) + np.outer(x_rest, x_centre))
        self.yx[block] += dy.T @ dx + (np.outer(y_centre, x_sum) + np.outer(y_rest, x_centre))
        self.yy[block] += np.sum(dy * dy, axis=0, dtype=np.float64) + y_centre * (y_sum + y_rest)
        self.x[block] += x_sum
        self.y[block] += y_sum

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            xx=self.xx + other.xx,
            x=self.x + other.x,
            yx=self.yx + other.yx,
            y=self.y + other.y,
            yy=self.yy + other.yy,
            count=self.count + other.count,
        )


def _mean(rows: NDArray[np.float32]) -> _Float64:
    """Of each column, rounded to what float32 holds."""
    mean: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean.astype(np.float64)

"""What is gathered at a layer: second moments, or the positions themselves where they are few for so many features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.reconstruction.moments import Moments, finite_positions
from domino_onnx.reconstruction.needs import are_few

__all__ = ["Positions", "Statistics", "no_statistics", "together"]

_Float64 = NDArray[np.float64]
_Part = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclasses.dataclass(slots=True)
class Positions:
    """Features and wanted outputs as they came, with the sums that `Moments` has of them.

    Attributes
    ----------
    parts
        (blocks, positions, features) and (blocks, positions, outputs) of each batch.
    x, y, yy
        (blocks, features), (blocks, outputs), (blocks, outputs): sums of the features, of the outputs, and of their
        squares.
    """

    parts: tuple[_Part, ...]
    x: _Float64
    y: _Float64
    yy: _Float64

    @classmethod
    def empty(cls, blocks: int, outputs: int, features: int) -> Positions:
        """No positions yet."""
        return cls((), np.zeros((blocks, features)), np.zeros((blocks, outputs)), np.zeros((blocks, outputs)))

    @property
    def count(self) -> int:
        """Number of positions."""
        return sum(features.shape[1] for features, _ in self.parts)

    def add(self, features: NDArray[Any], wanted: NDArray[Any]) -> None:
        """Take in (blocks, positions, features) and (blocks, positions, outputs) where they are finite."""
        features, wanted = finite_positions(features, wanted)
        part = np.array(features, np.float32), np.array(wanted, np.float32)
        self.parts = (*self.parts, part)
        self.x += part[0].sum(axis=1, dtype=np.float64)
        self.y += part[1].sum(axis=1, dtype=np.float64)
        self.yy += np.einsum("bpo,bpo->bo", part[1], part[1], dtype=np.float64)

    def features(self, block: int) -> _Float64:
        """(positions, features) of a block."""
        return np.concatenate([features[block].astype(np.float64) for features, _ in self.parts])

    def wanted(self, block: int) -> _Float64:
        """(positions, outputs) of a block."""
        return np.concatenate([wanted[block].astype(np.float64) for _, wanted in self.parts])

    def __add__(self, other: Positions) -> Positions:
        return Positions(self.parts + other.parts, self.x + other.x, self.y + other.y, self.yy + other.yy)


Statistics = Moments | Positions


def no_statistics(blocks: int, outputs: int, features: int, positions: int) -> Statistics:
    """In the form that suits so many positions, which are still to come."""
    form = Positions if are_few(positions, features) else Moments
    return form.empty(blocks, outputs, features)


def together(first: Statistics, second: Statistics) -> Statistics:
    """The sum of two of the same form."""
    if isinstance(first, Positions) and isinstance(second, Positions):
        return first + second
    if isinstance(first, Moments) and isinstance(second, Moments):
        return first + second
    raise TypeError("statistics of two forms can't be added")

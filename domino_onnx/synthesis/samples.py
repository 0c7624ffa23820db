"""Drawn samples of one input, as a dataset takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.drawing import DrawnInput

__all__ = ["KEPT_BYTES", "DrawnSamples", "KeptSamples"]

KEPT_BYTES: Final = 512 << 20


class KeptSamples:
    """Samples that were drawn before, for all inputs, up to 512 MiB.

    Parameters
    ----------
    draw
        All inputs of a sample, by its number.
    moving
        Whether the newest stay: a stream doesn't come back to what it has left. Else the first stay, since data are
        read round and round.
    """

    def __init__(self, draw: Callable[[int], dict[str, NDArray[Any]]], *, moving: bool) -> None:
        self._draw = draw
        self._moving = moving
        self._kept: dict[int, dict[str, NDArray[Any]]] = {}

    def __getitem__(self, place: int) -> dict[str, NDArray[Any]]:
        if place in self._kept:
            return self._kept[place]
        values = self._draw(place)
        room = KEPT_BYTES // max(sum(value.nbytes for value in values.values()), 1)
        if self._moving and len(self._kept) >= room > 0:
            del self._kept[next(iter(self._kept))]
        if len(self._kept) < room:
            self._kept[place] = values
        return values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSamples:
    """One input of samples of a synthesis.

    Attributes
    ----------
    first
        The number of the first sample.
    count
        How many there are said to be; those behind them can be taken as well.
    """

    kept: KeptSamples
    drawn: DrawnInput
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of one."""
        return (self.count, *self.drawn.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The input's type."""
        return self.drawn.dtype

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        return np.stack([self.kept[self.first + int(place)][self.drawn.name] for place in indices])

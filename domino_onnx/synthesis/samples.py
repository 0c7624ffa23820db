"""Drawn samples of one input, as a dataset takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.drawing import DrawnInput

__all__ = ["DrawnSamples"]

_CACHED_BYTES: Final = 512 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSamples:
    """One input of the first samples of a synthesis.

    Attributes
    ----------
    sample
        All inputs of a sample, by its number.
    shared
        Samples that were drawn before, for all inputs, up to 512 MiB. The first stay: data are read round and round.
    """

    sample: Callable[[int], dict[str, NDArray[Any]]]
    drawn: DrawnInput
    count: int
    shared: dict[int, dict[str, NDArray[Any]]]

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
        return np.stack([self._drawn(int(place)) for place in indices])

    def _drawn(self, place: int) -> NDArray[Any]:
        if place in self.shared:
            return self.shared[place][self.drawn.name]
        values = self.sample(place)
        size = sum(value.nbytes for value in values.values())
        if (len(self.shared) + 1) * size <= _CACHED_BYTES:
            self.shared[place] = values
        return values[self.drawn.name]

"""Samples of several sources, one after another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.dataset import Dataset
from domino_onnx.data.samples import Samples

__all__ = ["JoinedSamples", "joined"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSamples:
    """The samples of all parts, which are not copied. They have one shape and one type."""

    parts: tuple[Samples, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of one."""
        return (len(self), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The samples' type."""
        return self.parts[0].dtype

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        ends = np.cumsum([len(part) for part in self.parts])
        places = np.searchsorted(ends, indices, side="right")
        taken = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for place, part in enumerate(self.parts):
            chosen = places == place
            if chosen.any():
                taken[chosen] = part[indices[chosen] - (ends[place] - len(part))]
        return taken


def joined(first: Dataset, *others: Dataset) -> Dataset:
    """One dataset of all, without labels; what is the same for all samples is that of the first."""
    arrays = {
        name: JoinedSamples(parts=(samples, *(other.arrays[name] for other in others)))
        for name, samples in first.arrays.items()
    }
    return dataclasses.replace(first, arrays=arrays, labels=None, truth=None)

"""Samples of several sources, one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.dataset import Dataset
from domino_onnx.data.samples import Samples, same_sizes

__all__ = ["JoinedSamples", "joined"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSamples:
    """The samples of all parts, which are not copied. They have one type, and as many axes.

    The last part may have more samples than its length says: a stream has.
    """

    parts: tuple[Samples, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of the first one."""
        return (len(self), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The samples' type."""
        return self.parts[0].dtype

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """(count, axes) the shape of each sample; None if all have one."""
        known = [getattr(part, "sizes", None) for part in self.parts]
        if all(each is None for each in known) and len({part.shape[1:] for part in self.parts}) == 1:
            return None
        return np.concatenate(
            [same_sizes(part) if each is None else each for part, each in zip(self.parts, known, strict=True)]
        )

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        ends = np.cumsum([len(part) for part in self.parts])
        places = np.searchsorted(ends[:-1], indices, side="right")
        chosen = {int(place): np.flatnonzero(places == place) for place in np.unique(places)}
        found = {
            place: self.parts[place][indices[some] - (ends[place] - len(self.parts[place]))]
            for place, some in chosen.items()
        }
        shape = next((each.shape[1:] for each in found.values()), self.shape[1:])
        taken = np.empty((len(indices), *shape), self.dtype)
        for place, some in chosen.items():
            taken[some] = found[place]
        return taken


def joined(first: Dataset, *others: Dataset) -> Dataset:
    """One dataset of all, without labels; what is the same for all samples is that of the first."""
    arrays = {
        name: JoinedSamples(parts=(samples, *(other.arrays[name] for other in others)))
        for name, samples in first.arrays.items()
    }
    return dataclasses.replace(first, arrays=arrays, labels=None, truth=None, sizes=_sizes((first, *others)))


def _sizes(parts: Sequence[Dataset]) -> NDArray[np.int64] | None:
    if all(part.sizes is None for part in parts):
        return None
    return np.concatenate([_rows(part) if part.sizes is None else part.sizes for part in parts])


def _rows(data: Dataset) -> NDArray[np.int64]:
    return np.hstack([same_sizes(data.arrays[name]) for name in sorted(data.arrays)])

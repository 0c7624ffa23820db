"""Calibration and evaluation data: samples by input name, for runs of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.augment import Augmentation
from domino_onnx.data.batching import Batching
from domino_onnx.data.samples import Samples, Subset

__all__ = ["Dataset"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples for a model, by input.

    Attributes
    ----------
    arrays
        The first axis counts samples, wherever the input has its batch axis.
    constant
        Inputs that are the same for every sample, as the model takes them: a sampling rate, a mask.
    labels
        (count,) int64 class indices, or None.
    truth
        (count, ...) what a user's metric gets as labels: class indices, or any numbers or text. None without labels.
    batching
        Where samples lie in a run's inputs and outputs, and how many a run must have.
    augment
        How inputs are varied where a caller of `take` asks for it.
    """

    arrays: Mapping[str, Samples]
    constant: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    truth: NDArray[Any] | None = None
    batching: Batching = dataclasses.field(default_factory=Batching)
    augment: Mapping[str, Augmentation] = dataclasses.field(default_factory=dict)

    @property
    def batch(self) -> int | None:
        """How many samples a run must have, None if any."""
        return self.batching.size

    @property
    def stacked(self) -> bool:
        """Whether a sample is one whole set of inputs."""
        return self.batching.stacked

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    def batch_size(self, wanted: int) -> int:
        """The batch size to use where any up to `wanted` would do."""
        return self.batch or min(wanted, self.count)

    def take(self, indices: NDArray[np.int64], *, draw: int | None = None) -> dict[str, NDArray[Any]]:
        """The inputs of one run for these samples: as they are, or in their random variation number `draw`."""
        chosen = {name: samples[indices] for name, samples in self.arrays.items()}
        if draw is not None:
            chosen |= {name: augment(chosen[name], indices, draw) for name, augment in self.augment.items()}
        return {**{name: _in_run(array, self.batching.axis(name)) for name, array in chosen.items()}, **self.constant}

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Runs over the samples in order; with a fixed batch the remainder is left out."""
        return (self.batch_at(place, size) for place in range(self.batch_count(size)))

    def batch_count(self, size: int) -> int:
        """How many runs `batches` gives."""
        step = self.batch_size(size)
        return self.count // step if self.batch else -(-self.count // step)

    def batch_at(self, place: int, size: int) -> dict[str, NDArray[Any]]:
        """The inputs of one of the runs that `batches` gives."""
        step = self.batch_size(size)
        return self.take(np.arange(place * step, min((place + 1) * step, self.count)))

    def whole(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """`indices` without the remainder that `batches` leaves out."""
        return indices[: len(indices) // self.batch * self.batch] if self.batch else indices

    def chunks(self, indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
        """`indices` in runs of up to `size`; with a fixed batch in its size, and the remainder is left out."""
        step, whole = self.batch_size(size), self.whole(indices)
        return (whole[start : start + step] for start in range(0, len(whole), step))

    def subset(self, indices: NDArray[np.int64]) -> Dataset:
        """A dataset of these samples, which are not copied."""
        labels, truth = (None if known is None else known[indices] for known in (self.labels, self.truth))
        arrays = {name: Subset(source=samples, indices=indices) for name, samples in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays, labels=labels, truth=truth)

    def evenly(self, most: int) -> Dataset:
        """Up to `most` samples from all over the data, in whole batches where the model wants them."""
        if self.count <= most:
            return self
        count = max(most // (self.batch or 1), 1) * (self.batch or 1)
        return self.subset(np.arange(count) * self.count // count)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs for one sample, as `--input-shape` takes them."""
        return {name: tuple(array.shape) for name, array in self.take(np.arange(self.batch_size(1))).items()}


def _in_run(samples: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Samples as the model takes them: along its batch axis, or the only one without."""
    if axis is None:
        return samples[0, ...]
    return np.ascontiguousarray(np.moveaxis(samples, 0, axis)) if axis else samples

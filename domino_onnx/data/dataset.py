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
    sizes
        (count, axes) int64, where samples have several shapes: the sizes of each sample's axes, those of all inputs
        behind each other. Else None. A run takes samples of one shape.
    """

    arrays: Mapping[str, Samples]
    constant: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    truth: NDArray[Any] | None = None
    batching: Batching = dataclasses.field(default_factory=Batching)
    augment: Mapping[str, Augmentation] = dataclasses.field(default_factory=dict)
    sizes: NDArray[np.int64] | None = None

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
        """The inputs of one run for these samples: as they are, or in their random variation number `draw`.

        The samples must have one shape, as those of `chunks` do.
        """
        chosen = {name: samples[indices] for name, samples in self.arrays.items()}
        if draw is not None:
            chosen |= {name: augment(chosen[name], indices, draw) for name, augment in self.augment.items()}
        return {**{name: _in_run(array, self.batching.axis(name)) for name, array in chosen.items()}, **self.constant}

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The inputs of `runs`."""
        return (self.take(run) for run in self.runs(size))

    def runs(self, size: int) -> list[NDArray[np.int64]]:
        """All samples in runs of up to `size`, as `chunks` makes them."""
        return list(self.chunks(np.arange(self.count), size))

    def chunks(self, indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
        """`indices` in runs of up to `size`; with a fixed batch in its size, and the remainder is left out.

        Samples of several shapes are sorted by shape, and their runs by their first samples. So shapes come mixed where
        samples do.
        """
        step = self.batch_size(size)
        whole = indices[: len(indices) // self.batch * self.batch] if self.batch else indices
        parts = [np.arange(len(whole))] if self.sizes is None else _by_shape(self.sizes[whole])
        runs = [part[start : start + step] for part in parts for start in range(0, len(part), step)]
        return (whole[run] for run in sorted(runs, key=lambda run: int(run[0])))

    def some(self, wanted: int) -> NDArray[np.int64]:
        """Up to `wanted` samples, looked at in place of all: the first ones; of several shapes, the median's."""
        size = self.batch_size(wanted)
        if self.sizes is None:
            return np.arange(size)
        middle = self._by_extent()[self.count // 2]
        return self.like(middle, np.arange(self.count))[:size]

    def extremes(self, wanted: int) -> list[NDArray[np.int64]]:
        """Runs of up to `wanted` samples that show whether shapes matter: of the smallest and of the largest shape."""
        if self.sizes is None:
            return [self.some(wanted)]
        order = self._by_extent()
        return [self.like(sample, order)[: self.batch_size(wanted)] for sample in (order[0], order[-1])]

    def like(self, sample: int, others: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `others` that have the shape of a sample."""
        return others if self.sizes is None else others[(self.sizes[others] == self.sizes[sample]).all(axis=1)]

    def extent(self, run: NDArray[np.int64]) -> float:
        """By which runs compare in what they hold: how many samples, times the product of their sizes."""
        return len(run) * (1.0 if self.sizes is None else float(_extents(self.sizes[run[:1]])[0]))

    def _by_extent(self) -> NDArray[np.int64]:
        """All samples, the smallest first."""
        assert self.sizes is not None
        return np.argsort(_extents(self.sizes), kind="stable")

    def subset(self, indices: NDArray[np.int64]) -> Dataset:
        """A dataset of these samples, which are not copied."""
        labels, truth = (None if known is None else known[indices] for known in (self.labels, self.truth))
        arrays = {name: Subset(source=samples, indices=indices) for name, samples in self.arrays.items()}
        sizes = None if self.sizes is None else self.sizes[indices]
        return dataclasses.replace(self, arrays=arrays, labels=labels, truth=truth, sizes=sizes)

    def evenly(self, most: int) -> Dataset:
        """Up to `most` samples from all over the data, in whole batches where the model wants them."""
        if self.count <= most:
            return self
        count = max(most // (self.batch or 1), 1) * (self.batch or 1)
        return self.subset(np.arange(count) * self.count // count)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs for one sample of `some`, as `--input-shape` takes them."""
        return {name: tuple(array.shape) for name, array in self.take(self.some(1)).items()}


def _in_run(samples: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Samples as the model takes them: along its batch axis, or the only one without."""
    if axis is None:
        return samples[0, ...]
    return np.ascontiguousarray(np.moveaxis(samples, 0, axis)) if axis else samples


def _by_shape(sizes: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Places of (samples, axes) sizes whose rows are the same, ascending."""
    _, shape = np.unique(sizes, axis=0, return_inverse=True)
    shape = shape.reshape(-1)
    order = np.argsort(shape, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(shape[order])) + 1)


def _extents(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    extents: NDArray[np.float64] = sizes.prod(axis=1, dtype=np.float64)
    return extents

"""Calibration and evaluation data: samples by input name, checked against the model before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.data.arrays import read_arrays
from domino_onnx.data.augment import Augmentation
from domino_onnx.data.images import open_images
from domino_onnx.data.inputs import InputSpec, class_count, input_specs
from domino_onnx.data.preprocessing import find_preprocessing, read_preprocessing
from domino_onnx.data.samples import CheckedSamples, Samples, Subset, cast
from domino_onnx.errors import DataError

__all__ = ["Dataset", "load_data"]

LABELS = "labels"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples for a model, by input.

    Attributes
    ----------
    arrays
        The first axis counts samples. An input without a sample axis is in `constant`.
    constant
        Inputs that are the same for every sample (a scalar such as a sampling rate).
    labels
        (count,) int64 class indices, or None.
    batch
        The batch size the model insists on, None if it takes any.
    stacked
        The arrays have one axis more than the model's inputs: each sample is one whole set of inputs.
    augment
        How inputs are varied where a caller of `take` asks for it.
    """

    arrays: Mapping[str, Samples]
    constant: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    batch: int | None
    stacked: bool
    augment: Mapping[str, Augmentation] = dataclasses.field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    def batch_size(self, wanted: int) -> int:
        """The batch size to use where any up to `wanted` would do."""
        return 1 if self.stacked else self.batch or min(wanted, self.count)

    def take(self, indices: NDArray[np.int64], *, draw: int | None = None) -> dict[str, NDArray[Any]]:
        """The inputs of one run for these samples: as they are, or in their random variation number `draw`."""
        chosen = {name: samples[indices] for name, samples in self.arrays.items()}
        if draw is not None:
            chosen |= {name: augment(chosen[name], indices, draw) for name, augment in self.augment.items()}
        if self.stacked:
            chosen = {name: array[0] for name, array in chosen.items()}
        return {**chosen, **self.constant}

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Runs over the samples in order; with a fixed batch the remainder is left out."""
        return (self.batch_at(place, size) for place in range(self.batch_count(size)))

    def batch_count(self, size: int) -> int:
        """How many runs `batches` gives."""
        step = self.batch_size(size)
        return self.count // step if self.batch or self.stacked else -(-self.count // step)

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
        labels = None if self.labels is None else self.labels[indices]
        arrays = {name: Subset(source=samples, indices=indices) for name, samples in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays, labels=labels)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs for one sample, as `--input-shape` takes them."""
        return {name: tuple(array.shape) for name, array in self.take(np.arange(self.batch_size(1))).items()}


def load_data(path: Path, model: ModelProto) -> Dataset:
    """Read an .npz with one array per input (and optionally `labels`), a folder of them, or images.

    A folder holds .npz files, which are joined in the order of their names, or one .npy file per input, which are
    memory-mapped: their values are checked batch by batch, when they are taken. Nothing is unpickled.
    Images are described by a preprocessing.yaml, which `path` is or holds.

    Raises
    ------
    DataError
        For a missing, unknown or misshapen input, values that aren't finite, no samples, or an unreadable file.
    DependencyError
        For images, if Pillow or PyYAML isn't installed.
    """
    specs = input_specs(model)
    description = find_preprocessing(path)
    data = _load_arrays(path, specs) if description is None else _load_images(description, specs)
    if data.labels is not None:
        _require_classes(path, data.labels, class_count(model))
    return data


def _load_images(description: Path, specs: Sequence[InputSpec]) -> Dataset:
    preprocessing = read_preprocessing(description, specs)
    samples, labels = open_images(preprocessing)
    name = preprocessing.spec.name
    data = _dataset(preprocessing.images, {name: samples}, labels, specs)
    return data if preprocessing.augment is None else dataclasses.replace(data, augment={name: preprocessing.augment})


def _load_arrays(path: Path, specs: Sequence[InputSpec]) -> Dataset:
    found: dict[str, Samples] = dict(read_arrays(path))
    labels = found.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
    return _dataset(path, found, None if labels is None else np.asarray(labels), specs)


def _dataset(
    path: Path, found: Mapping[str, Samples], labels: NDArray[Any] | None, specs: Sequence[InputSpec]
) -> Dataset:
    _check_names(path, found, specs)
    stacked = any(spec.shape is not None and len(found[spec.name].shape) == len(spec.shape) + 1 for spec in specs)
    arrays: dict[str, Samples] = {}
    constant: dict[str, NDArray[Any]] = {}
    for spec in specs:
        samples = _checked(path, found[spec.name], spec, stacked=stacked)
        if isinstance(samples, np.ndarray) and samples.ndim == 0:
            constant[spec.name] = samples
        else:
            arrays[spec.name] = samples
    count = _count(path, arrays)
    return Dataset(
        arrays=arrays,
        constant=constant,
        labels=None if labels is None else _checked_labels(path, labels, count),
        batch=None if stacked else _fixed_batch(path, specs, count),
        stacked=stacked,
    )


def _check_names(path: Path, found: Mapping[str, Samples], specs: Sequence[InputSpec]) -> None:
    wanted = {spec.name for spec in specs}
    missing, unknown = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    if missing or unknown:
        raise DataError(
            f"{path} holds {', '.join(map(repr, sorted(found)))}, but the model's inputs are "
            f"{'; '.join(map(str, specs)) or 'none'} (and {LABELS!r} is optional)"
        )


def _checked(path: Path, samples: Samples, spec: InputSpec, *, stacked: bool) -> Samples:
    """The samples in the input's type: checked now if they lie in memory, else whenever some are taken."""
    where = f"{path}: array {spec.name!r} of shape {samples.shape}"
    _require_fit(where, samples.shape, spec, stacked=stacked)
    _require_numbers(where, samples.dtype, spec)
    if isinstance(samples, np.ndarray) and (samples.ndim == 0 or not isinstance(samples, np.memmap)):
        return cast(where, samples, spec)
    return CheckedSamples(where=where, source=samples, spec=spec)


def _require_fit(where: str, shape: tuple[int, ...], spec: InputSpec, *, stacked: bool) -> None:
    if spec.shape == () and not shape:
        return
    sample_shape = shape[1:] if stacked else shape
    if spec.shape is not None:
        free = sample_shape if stacked else (None, *sample_shape[1:])
        fits = len(sample_shape) == len(spec.shape) and all(
            want is None or have is None or want == have for want, have in zip(spec.shape, free, strict=True)
        )
        if not fits or not shape:
            raise DataError(f"{where} doesn't fit the input {spec}; the first axis counts samples")
    elif not shape:
        raise DataError(f"{where} has no axis that counts samples")


def _require_numbers(where: str, dtype: np.dtype[Any], spec: InputSpec) -> None:
    if dtype.kind not in "fiub":
        raise DataError(f"{where} holds {dtype}, not numbers")
    if dtype.kind == "f" and spec.dtype.kind in "iub":
        raise DataError(f"{where} holds {dtype}, the input {spec} wants integers")


def _count(path: Path, arrays: Mapping[str, Samples]) -> int:
    counts = {name: len(array) for name, array in arrays.items()}
    if not counts:
        raise DataError(f"{path}: the model has no input with a sample axis, so data are of no use")
    if len(set(counts.values())) > 1:
        raise DataError(f"{path}: the inputs have different numbers of samples: {counts}")
    count = next(iter(counts.values()))
    if not count:
        raise DataError(f"{path} holds no samples")
    return count


def _checked_labels(path: Path, labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {LABELS!r} is {labels.dtype} {labels.shape}; it must be {count} integers, one a sample"
        )
    if int(labels.min()) < 0:
        raise DataError(f"{path}: {LABELS!r} holds {int(labels.min())}; classes count from 0")
    return labels.astype(np.int64)


def _require_classes(path: Path, labels: NDArray[np.int64], classes: int | None) -> None:
    if classes is not None and int(labels.max()) >= classes:
        raise DataError(
            f"{path}: a label is {int(labels.max())}, but the model tells {classes} classes apart, counted from 0"
        )


def _fixed_batch(path: Path, specs: Sequence[InputSpec], count: int) -> int | None:
    fixed = {spec.shape[0] for spec in specs if spec.shape} - {None}
    if not fixed:
        return None
    batch = max(size for size in fixed if size is not None)
    if count < batch:
        raise DataError(f"{path} holds {count} samples; the model runs {batch} at a time")
    return batch

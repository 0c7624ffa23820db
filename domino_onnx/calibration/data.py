"""Calibration and evaluation data: arrays by input name, checked against the model before any work."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from domino_onnx.errors import DataError
from domino_onnx.graph import model_inputs

__all__ = ["Dataset", "InputSpec", "input_specs", "load_data"]

LABELS = "labels"
_MAX_BYTES = 64 << 30
_MAX_RATIO = 400  # an .npz of zeros packs 1000 : 1; real data do not
_SMALL = 256 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a model input wants: `shape` has None for axes that are free."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = (
            "any shape" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        )
        return f"{self.name} ({self.dtype}: {shape})"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples for a model, one array per input.

    Attributes
    ----------
    arrays
        The first axis counts samples. An input without a sample axis in `constant` instead.
    constant
        Inputs that are the same for every sample (a scalar such as a sampling rate).
    labels
        (count,) int64 class indices, or None.
    batch
        The batch size the model insists on, None if it takes any.
    stacked
        The arrays have one axis more than the model's inputs: each sample is one whole set of inputs.
    """

    arrays: Mapping[str, NDArray[Any]]
    constant: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    batch: int | None
    stacked: bool

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    def batch_size(self, wanted: int) -> int:
        """The batch size to use where any up to `wanted` would do."""
        return 1 if self.stacked else self.batch or min(wanted, self.count)

    def take(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The inputs of one run for these samples."""
        chosen = {name: array[indices] for name, array in self.arrays.items()}
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

    def subset(self, indices: NDArray[np.int64]) -> Dataset:
        """A dataset of these samples."""
        labels = None if self.labels is None else self.labels[indices]
        arrays = {name: array[indices] for name, array in self.arrays.items()}
        return dataclasses.replace(self, arrays=arrays, labels=labels)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs for one sample, as `--input-shape` takes them."""
        return {name: tuple(array.shape) for name, array in self.take(np.arange(self.batch_size(1))).items()}


def input_specs(model: ModelProto) -> list[InputSpec]:
    """The inputs a caller must give. Raises DataError for inputs that aren't tensors."""
    specs = []
    for value in model_inputs(model):
        if not value.type.HasField("tensor_type"):
            raise DataError(f"input {value.name!r} is not a tensor; data can't be given for it")
        tensor = value.type.tensor_type
        axes = tensor.shape.dim if tensor.HasField("shape") else None
        shape = None if axes is None else tuple(axis.dim_value if axis.dim_value > 0 else None for axis in axes)
        if tensor.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
            raise DataError(f"input {value.name!r} doesn't hold numbers; data can't be given for it")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        specs.append(InputSpec(name=value.name, dtype=dtype, shape=shape))
    return specs


def load_data(path: Path, model: ModelProto) -> Dataset:
    """Read an .npz with one array per input (and optionally `labels`), or a folder of them.

    A folder holds .npz files, which are joined in the order of their names, or one .npy file per input, which are
    memory-mapped. Nothing is unpickled.

    Raises
    ------
    DataError
        For a missing, unknown or misshapen input, values that aren't finite, no samples, or an unreadable file.
    """
    specs = input_specs(model)
    found = _read(path)
    labels = found.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
    _check_names(path, found, specs)
    stacked = any(spec.shape is not None and found[spec.name].ndim == len(spec.shape) + 1 for spec in specs)
    arrays: dict[str, NDArray[Any]] = {}
    constant: dict[str, NDArray[Any]] = {}
    for spec in specs:
        array = _checked(path, found[spec.name], spec, stacked=stacked)
        (constant if array.ndim == 0 else arrays)[spec.name] = array
    count = _count(path, arrays)
    return Dataset(
        arrays=arrays,
        constant=constant,
        labels=None if labels is None else _checked_labels(path, labels, count),
        batch=None if stacked else _fixed_batch(path, specs, count),
        stacked=stacked,
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if path.is_file():
        return _read_npz(path)
    if not path.is_dir():
        raise DataError(
            f"there is no file or folder {path}; --data takes an .npz file or a folder of .npz or .npy files"
        )
    archives = sorted(path.glob("*.npz"))
    if archives:
        parts = [_read_npz(archive) for archive in archives]
        for archive, part in zip(archives, parts, strict=True):
            if part.keys() != parts[0].keys():
                raise DataError(f"{archive} holds {sorted(part)}, {archives[0].name} holds {sorted(parts[0])}")
        try:
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        except ValueError as error:
            raise DataError(f"the files in {path} don't fit together: {error}") from None
    arrays = {file.stem: _read_npy(file) for file in sorted(path.glob("*.npy"))}
    if not arrays:
        raise DataError(f"the folder {path} holds no .npz and no .npy file")
    return arrays


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path} is not a readable .npy file: {error}") from None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(path, archive)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path} is not a readable .npz file (one array per input, no pickles): {error}") from None
    if not arrays:
        raise DataError(f"{path} holds no arrays")
    return arrays


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    unpacked = sum(member.file_size for member in archive.infolist())
    packed = sum(member.compress_size for member in archive.infolist())
    if unpacked > _MAX_BYTES or (unpacked > _SMALL and unpacked > _MAX_RATIO * max(packed, 1)):
        raise DataError(
            f"{path} unpacks {packed} bytes to {unpacked}: not real data, or too much; use a folder of .npy"
        )


def _check_names(path: Path, found: Mapping[str, NDArray[Any]], specs: Sequence[InputSpec]) -> None:
    wanted = {spec.name for spec in specs}
    missing, unknown = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    if missing or unknown:
        raise DataError(
            f"{path} holds {', '.join(map(repr, sorted(found)))}, but the model's inputs are "
            f"{'; '.join(map(str, specs)) or 'none'} (and {LABELS!r} is optional)"
        )


def _checked(path: Path, array: NDArray[Any], spec: InputSpec, *, stacked: bool) -> NDArray[Any]:
    where = f"{path}: array {spec.name!r} of shape {array.shape}"
    if spec.shape == () and array.ndim == 0:
        return _cast(where, array, spec)
    sample_shape = array.shape[1:] if stacked else array.shape
    if spec.shape is not None:
        free = sample_shape if stacked else (None, *sample_shape[1:])
        fits = len(sample_shape) == len(spec.shape) and all(
            want is None or have is None or want == have for want, have in zip(spec.shape, free, strict=True)
        )
        if not fits or array.ndim == 0:
            raise DataError(f"{where} doesn't fit the input {spec}; the first axis counts samples")
    elif array.ndim == 0:
        raise DataError(f"{where} has no axis that counts samples")
    return _cast(where, array, spec)


def _cast(where: str, array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {array.dtype}, not numbers")
    if array.dtype.kind == "f" and spec.dtype.kind in "iub":
        raise DataError(f"{where} holds {array.dtype}, the input {spec} wants integers")
    cast = array if array.dtype == spec.dtype else array.astype(spec.dtype)
    if spec.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise DataError(f"{where} holds values that don't fit {spec.dtype}")
    if (cast.dtype.kind == "f" or cast.dtype.name == "bfloat16") and not np.isfinite(cast).all():
        bad = cast.size - int(np.count_nonzero(np.isfinite(cast)))
        raise DataError(f"{where} holds {bad} NaN or infinite value(s)")
    return cast


def _count(path: Path, arrays: Mapping[str, NDArray[Any]]) -> int:
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


def _fixed_batch(path: Path, specs: Sequence[InputSpec], count: int) -> int | None:
    fixed = {spec.shape[0] for spec in specs if spec.shape} - {None}
    if not fixed:
        return None
    batch = max(size for size in fixed if size is not None)
    if count < batch:
        raise DataError(f"{path} holds {count} samples; the model runs {batch} at a time")
    return batch

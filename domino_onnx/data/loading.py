"""From a path to a dataset: the user's arrays or images, checked against the model before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.data.arrays import read_arrays
from domino_onnx.data.batching import BatchAxes, Batching, batching_of
from domino_onnx.data.dataset import Dataset
from domino_onnx.data.forms import Form, choose_forms, is_one_number, run_size
from domino_onnx.data.images import open_images
from domino_onnx.data.inputs import InputSpec, class_count, input_specs
from domino_onnx.data.joined import JoinedSamples
from domino_onnx.data.preprocessing import find_preprocessing, read_preprocessing
from domino_onnx.data.samples import CheckedSamples, Samples, cast, sizes_of
from domino_onnx.data.template import undescribed_images
from domino_onnx.errors import DataError
from domino_onnx.files import check_name
from domino_onnx.plurals import quantity

__all__ = ["check_no_model", "load_data"]

LABELS: Final = "labels"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one file holds: samples, the first axis counting them, or one value of an input; and their number."""

    path: Path
    samples: Mapping[str, Samples]
    forms: Mapping[str, Form]
    labels: NDArray[Any] | None
    count: int


def load_data(
    path: Path, model: ModelProto, batch_axes: BatchAxes | None = None, *, any_labels: bool = False
) -> Dataset:
    """Read an .npz with one array per input (and optionally `labels`), a folder of them, or images.

    A folder holds .npz files, which are joined in the order of their names, or one .npy file per input, which are
    memory-mapped: their values are checked batch by batch, when they are taken. Nothing is unpickled.
    Images are described by a preprocessing.yaml, which `path` is or holds. docs/data.md lists the forms of arrays.

    Parameters
    ----------
    batch_axes
        Batch axes of inputs and outputs that the user names.
    any_labels
        Whether labels may be other than class indices, since a user's metric reads them, or nothing does.

    Raises
    ------
    DataError
        For a missing, unknown or misshapen input, values that aren't finite, no samples, an unreadable file, labels
        that don't fit, or a name that isn't UTF-8.
    DependencyError
        For images, if Pillow or PyYAML isn't installed.
    """
    check_name(path, "the data", DataError)
    check_no_model(path)
    specs = input_specs(model)
    batching = batching_of(model, specs, batch_axes)
    description = find_preprocessing(path)
    if description is None and (untold := undescribed_images(path, specs)) is not None:
        raise DataError(untold)
    if description is None:
        data = _load_arrays(path, specs, batching)
    else:
        data = _load_images(description, specs, batching, any_labels=any_labels)
    if data.truth is None:
        return data
    trouble = _why_no_classes(data.truth, class_count(model))
    if trouble is None:
        return dataclasses.replace(data, labels=data.truth.astype(np.int64))
    if any_labels:
        return data
    raise DataError(f"{path}: {trouble}. Only a metric of your own takes others")


def check_no_model(path: Path) -> None:
    """Refuse a model that was given as samples, by its name.

    Raises
    ------
    DataError
        If it is a file that ends in .onnx.
    """
    if path.suffix.lower() == ".onnx" and path.is_file():
        raise DataError(
            f"{path} is a model, and holds no samples: give an .npz file, a folder of .npz or .npy files, or images "
            "with a preprocessing.yaml"
        )


def _load_images(description: Path, specs: Sequence[InputSpec], batching: Batching, *, any_labels: bool) -> Dataset:
    preprocessing = read_preprocessing(description, specs)
    samples, labels = open_images(preprocessing, any_labels=any_labels)
    name = preprocessing.spec.name
    _check_names(preprocessing.images, {name: samples}, specs)
    forms = choose_forms(preprocessing.images, {name: samples.shape}, specs, batching)
    part = _part(preprocessing.images, {name: samples}, labels, specs, forms)
    data = _dataset(preprocessing.images, [part], specs, batching)
    return data if preprocessing.augment is None else dataclasses.replace(data, augment={name: preprocessing.augment})


def _load_arrays(path: Path, specs: Sequence[InputSpec], batching: Batching) -> Dataset:
    files: list[tuple[Path, dict[str, Samples], NDArray[Any] | None]] = []
    for file, arrays in read_arrays(path):
        labels = arrays.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
        _check_names(file, arrays, specs)
        files.append((file, dict(arrays), labels))
    shapes = [{name: samples.shape for name, samples in found.items()} for _, found, _ in files]
    forms = _forms_of_files([file for file, _, _ in files], shapes, specs, batching)
    parts = [_part(*file, specs, form) for file, form in zip(files, forms, strict=True)]
    return _dataset(path, parts, specs, batching)


def _forms_of_files(
    files: Sequence[Path],
    shapes: Sequence[Mapping[str, tuple[int, ...]]],
    specs: Sequence[InputSpec],
    batching: Batching,
) -> list[dict[str, Form]]:
    """Of each file. Few samples may fit two forms; that of the other files is meant."""
    found = [choose_forms(file, each, specs, batching) for file, each in zip(files, shapes, strict=True)]
    mixed = {spec.name for spec in specs if len({forms[spec.name].source for forms in found}) > 1}
    if not mixed:
        return found
    return [choose_forms(file, each, specs, batching, mixed) for file, each in zip(files, shapes, strict=True)]


def _part(
    path: Path,
    found: Mapping[str, Samples],
    labels: NDArray[Any] | None,
    specs: Sequence[InputSpec],
    forms: Mapping[str, Form],
) -> _Part:
    for spec in specs:
        _require_numbers(_where(path, spec, found[spec.name]), found[spec.name].dtype, spec)
    count = next(form.count for form in forms.values() if form.count is not None)
    if not count:
        raise DataError(f"{path} holds no samples")
    samples = {spec.name: _checked(path, found[spec.name], spec, forms[spec.name]) for spec in specs}
    checked = None if labels is None else _checked_labels(path, labels, count)
    return _Part(path=path, samples=samples, forms=forms, labels=checked, count=count)


def _dataset(path: Path, parts: Sequence[_Part], specs: Sequence[InputSpec], batching: Batching) -> Dataset:
    """All parts as one, in their order."""
    count = sum(part.count for part in parts)
    numbers = {
        spec.name: np.concatenate([_numbers(part, spec) for part in parts])
        for spec in specs
        if is_one_number(spec, batching.axis(spec.name))
    }
    forms = {spec.name: _common_form(path, parts, spec.name) for spec in specs if spec.name not in numbers}
    forms |= _forms_of_numbers(numbers, count, alone=all(form.count is None for form in forms.values()))
    varying = {name: form for name, form in forms.items() if form.count is not None}
    size = run_size(path, varying)
    if size is not None and count < size:
        raise DataError(f"{path} holds {quantity(count, 'sample')}; the model runs {size} at a time")
    shared = [name for name in forms if name not in varying]
    arrays = {name: numbers[name] if name in numbers else _joined(path, parts, name) for name in varying}
    return Dataset(
        arrays=arrays,
        constant={name: numbers[name][0, ...] if name in numbers else _shared(path, parts, name) for name in shared},
        labels=None,
        truth=_joined_labels(path, parts),
        batching=Batching(
            axes={name: form.axis for name, form in varying.items()}, outputs=batching.outputs, size=size
        ),
        sizes=_sizes(path, arrays, size),
    )


def _sizes(path: Path, arrays: Mapping[str, Samples], batch: int | None) -> NDArray[np.int64] | None:
    """Those of samples that have several shapes, which a model with a fixed batch of several can't take."""
    sizes = sizes_of(arrays)
    if sizes is not None and batch not in (None, 1):
        raise DataError(
            f"{path} holds samples of {len(np.unique(sizes, axis=0))} shapes; the model runs {batch} at a time, which "
            "must have one: pad all to the same"
        )
    return sizes


def _forms_of_numbers(numbers: Mapping[str, NDArray[Any]], count: int, *, alone: bool) -> dict[str, Form]:
    """Numbers that are the same for all samples are shared, unless nothing else (`alone`) tells samples apart."""
    return {
        name: Form(count=count, size=1) if alone or (values != values[0]).any() else Form()
        for name, values in numbers.items()
    }


def _common_form(path: Path, parts: Sequence[_Part], name: str) -> Form:
    forms = [part.forms[name] for part in parts]
    for part, form in zip(parts, forms, strict=True):
        if (form.count is None, form.source, form.axis) != (forms[0].count is None, forms[0].source, forms[0].axis):
            raise _misfit(path, f"array {name!r} has another form in {part.path.name} than in {parts[0].path.name}")
    return forms[0]


def _numbers(part: _Part, spec: InputSpec) -> NDArray[Any]:
    """(count, *shape of the input) a lone number for each sample, though there may be one for all."""
    array = np.asarray(part.samples[spec.name])
    shape = (part.count, *(1 for _ in spec.shape or ()))
    return np.broadcast_to(array.reshape(-1, *shape[1:]), shape)


def _joined(path: Path, parts: Sequence[_Part], name: str) -> Samples:
    """The samples of all parts, whose free axes may have other sizes in each."""
    found = [part.samples[name] for part in parts]
    if len({len(samples.shape) for samples in found}) > 1:
        raise _misfit(path, f"array {name!r} has not the same number of axes in all of them")
    if len(found) == 1:
        return found[0]
    arrays = [samples for samples in found if isinstance(samples, np.ndarray)]
    one_shape = len({samples.shape[1:] for samples in found}) == 1
    return np.concatenate(arrays) if one_shape and len(arrays) == len(found) else JoinedSamples(parts=tuple(found))


def _shared(path: Path, parts: Sequence[_Part], name: str) -> NDArray[Any]:
    """What all samples share, which all files have alike."""
    arrays = [np.asarray(part.samples[name]) for part in parts]
    for part, array in zip(parts, arrays, strict=True):
        if not np.array_equal(array, arrays[0]):
            raise _misfit(
                path,
                f"array {name!r} is shared by all samples, but differs in {part.path.name} and {parts[0].path.name}",
            )
    return arrays[0]


def _joined_labels(path: Path, parts: Sequence[_Part]) -> NDArray[Any] | None:
    labels = [part.labels for part in parts if part.labels is not None]
    try:
        return np.concatenate(labels) if labels else None
    except (TypeError, ValueError) as error:
        raise _misfit(path, f"{LABELS!r}: {error}") from None


def _misfit(path: Path, what: str) -> DataError:
    return DataError(f"the files in {path} don't fit together: {what}")


def _check_names(path: Path, found: Mapping[str, Samples], specs: Sequence[InputSpec]) -> None:
    lacking = [spec.name for spec in specs if spec.name not in found]
    unknown = sorted(found.keys() - {spec.name for spec in specs})
    if lacking or unknown:
        lacks = f"lacks {_quoted(lacking)}" if lacking else ""
        holds = f"holds {_quoted(unknown)}, which is no input of the model" if unknown else ""
        raise DataError(
            f"{path} {' and '.join(filter(None, (lacks, holds)))}; the model's inputs are "
            f"{'; '.join(map(str, specs)) or 'none'} (and {LABELS!r} is optional)"
        )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _where(path: Path, spec: InputSpec, samples: Samples) -> str:
    return f"{path}: array {spec.name!r} of shape {samples.shape}"


def _checked(path: Path, samples: Samples, spec: InputSpec, form: Form) -> Samples:
    """The samples first, in the input's type: checked now if they lie in memory, else whenever some are taken."""
    where = _where(path, spec, samples)
    if not isinstance(samples, np.ndarray):
        return CheckedSamples(where=where, source=samples, spec=spec)
    in_order = np.moveaxis(samples, form.source, 0) if form.source else samples
    if isinstance(samples, np.memmap) and form.count is not None and samples.ndim > 1:
        return CheckedSamples(where=where, source=in_order, spec=spec)
    return cast(where, np.asarray(in_order), spec)


def _require_numbers(where: str, dtype: np.dtype[Any], spec: InputSpec) -> None:
    if dtype.kind not in "fiub":
        raise DataError(f"{where} holds {dtype}, not numbers")
    if dtype.kind == "f" and spec.dtype.kind in "iub":
        raise DataError(f"{where} holds {dtype}, the input {spec} wants integers")


def _checked_labels(path: Path, labels: NDArray[Any], count: int) -> NDArray[Any]:
    if labels.ndim == 0 or len(labels) != count or labels.dtype.kind not in "biufUS":
        raise DataError(f"{path}: {LABELS!r} is {labels.dtype} {labels.shape}; there must be {count}, one a sample")
    return labels


def _why_no_classes(labels: NDArray[Any], classes: int | None) -> str | None:
    """What keeps (count, ...) labels from being class indices of the model; None if they are."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        return (
            f"{LABELS!r} is {labels.dtype} {labels.shape}; it must be {quantity(len(labels), 'integer')}, one a sample"
        )
    if int(labels.min()) < 0:
        return f"{LABELS!r} holds {int(labels.min())}; classes count from 0"
    if classes is not None and int(labels.max()) >= classes:
        return f"a label is {int(labels.max())}, but the model tells {classes} classes apart, counted from 0"
    return None

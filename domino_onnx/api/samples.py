"""The forms in which Python code has samples; those that are no path are put into files, which the stages read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from domino_onnx.codec import shown
from domino_onnx.data import BatchAxes, Batching, InputSpec, batching_of, input_specs
from domino_onnx.errors import DataError
from domino_onnx.graph import read_model
from domino_onnx.plurals import quantity

__all__ = ["samples_file"]

_LABELS = "labels"


def samples_file(given: Any, keyword: str, folder: Path, model: Path, batch_axes: BatchAxes) -> Path:
    """The file or folder of the samples.

    All that is no path becomes an .npz. Feeds that come one by one pass through the disk: there may be more than memory
    holds, and the stages map them. Where the sizes of free axes change on the way, a folder of them is written.

    Parameters
    ----------
    keyword
        What messages call the samples.
    folder
        Where to write.
    model
        Tells the names of the inputs, and along which axis feeds are joined.

    Raises
    ------
    DataError
        If these are no samples, or feeds don't fit the model or each other.
    """
    if isinstance(given, str | os.PathLike):
        return Path(given)
    proto = read_model(model).proto
    specs = input_specs(proto)
    path = folder / f"{keyword}.npz"
    if isinstance(given, Mapping):
        _write_npz(path, _named(given, keyword))
    elif _is_array(given):
        _write_npz(path, {_only(specs, keyword): _array(given, keyword)})
    elif isinstance(given, Iterable):
        return _write_feeds(given, specs, batching_of(proto, specs, batch_axes), keyword, folder)
    else:
        raise DataError(f"{keyword} is {shown(given)}; give a path, an array, arrays by input, or an iterable of feeds")
    return path


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """As `numpy.savez`, which takes no name that is a parameter of its own."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                npy.write_array(stream, array, allow_pickle=False)


def _write_feeds(
    feeds: Iterable[Any], specs: Sequence[InputSpec], batching: Batching, keyword: str, folder: Path
) -> Path:
    """An .npz of all, or a folder with one for each stretch of feeds that have the same sizes, in their order."""
    many, first = folder / keyword, folder / f"{keyword}.npz"
    columns: dict[str, _Column] = {}
    stretches = 0
    try:
        for number, feed in enumerate(feeds):
            arrays = _by_name(feed, specs, f"{keyword}: feed {number}")
            if columns and arrays.keys() != columns.keys():
                raise DataError(f"{keyword}: feed {number} has {sorted(arrays)}, feed 0 has {sorted(columns)}")
            if columns and any(columns[name].has_other_sizes(array) for name, array in arrays.items()):
                many.mkdir(exist_ok=True)
                _write_stretch(many / f"{stretches:08}.npz", columns)
                stretches += 1
                columns = {name: column.next() for name, column in columns.items()}
            for name, array in arrays.items():
                if name not in columns:
                    file = folder / f"{keyword}.{len(columns)}.npy"
                    free, least = _free_axes(name, specs, batching), _least_axes(name, specs, batching)
                    columns[name] = _Column(file, _axis(name, batching), free, least)
                columns[name].add(array, f"{keyword}: feed {number}: {name!r}")
    finally:
        for column in columns.values():
            column.close()
    if not columns:
        raise DataError(f"{keyword} holds no samples: the iterable gave nothing, or was used up before")
    _write_stretch(many / f"{stretches:08}.npz" if stretches else first, columns)
    return many if stretches else first


def _write_stretch(path: Path, columns: Mapping[str, _Column]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            column.close()
            archive.write(column.path, f"{name}.npy")
            column.path.unlink()


def _axis(name: str, batching: Batching) -> int | None:
    """Along which feeds are joined; -1 where each is one sample, None where all have the same."""
    if name == _LABELS:
        return 0
    return -1 if batching.stacked else batching.axis(name)


def _free_axes(name: str, specs: Sequence[InputSpec], batching: Batching) -> frozenset[int]:
    """The axes of a feed's array whose sizes may change from feed to feed, but for the one that counts samples."""
    shape = next((spec.shape for spec in specs if spec.name == name), None)
    if shape is None or _axis(name, batching) is None:
        return frozenset()
    return frozenset(axis for axis, size in enumerate(shape) if size is None and axis != batching.axis(name))


def _least_axes(name: str, specs: Sequence[InputSpec], batching: Batching) -> int:
    """How many axes a feed's array has at least: all of the input's where one of them counts samples."""
    axis = _axis(name, batching)
    if axis is None or axis < 0:
        return max(_free_axes(name, specs, batching), default=-1) + 1
    shape = next((spec.shape for spec in specs if spec.name == name), None)
    return axis + 1 if shape is None else len(shape)


def _by_name(feed: Any, specs: Sequence[InputSpec], where: str) -> dict[str, NDArray[Any]]:
    """The arrays of one feed: by input, or in the order of the inputs, perhaps with labels behind them."""
    if isinstance(feed, Mapping):
        return _named(feed, where)
    names = [spec.name for spec in specs]
    parts = [feed] if _is_array(feed) else list(feed) if isinstance(feed, Sequence) else None
    if parts is None or not len(names) <= len(parts) <= len(names) + 1:
        raise DataError(
            f"{where} is {_told(feed)}; the model's inputs are {', '.join(map(repr, names))}: give arrays by name, or "
            "one for each input, and perhaps labels behind them"
        )
    return _named(dict(zip([*names, _LABELS], parts, strict=False)), where)


def _named(values: Mapping[Any, Any], where: str) -> dict[str, NDArray[Any]]:
    """The arrays by name. A label without any axis is that of one sample."""
    arrays = {str(name): _array(value, f"{where}: {str(name)!r}") for name, value in values.items()}
    return {name: np.atleast_1d(array) if name == _LABELS else array for name, array in arrays.items()}


def _told(feed: Any) -> str:
    return quantity(len(feed), "part") if isinstance(feed, tuple | list) else f"a {type(feed).__name__}"


def _only(specs: Sequence[InputSpec], keyword: str) -> str:
    if len(specs) != 1:
        names = ", ".join(repr(spec.name) for spec in specs) or "none"
        raise DataError(f"{keyword} is one array; the model's inputs are {names}: give arrays by name")
    return specs[0].name


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def _array(value: Any, what: str) -> NDArray[Any]:
    """A tensor of torch may have a gradient, and may be on a GPU. DataError for what is no array of one type."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.dtype.hasobject:
        raise DataError(f"{what} is {shown(value)}; give an array of numbers, whose rows all have one shape")
    return array


class _Column:
    """The values of one input, feed by feed, in an .npy file whose header is written again at the end.

    Parameters
    ----------
    axis
        Along which they are joined; -1 stacks them, None takes the first one for all.
    free
        Axes that may have another size in the next column.
    least
        How many axes each array must have.
    like
        What they are compared with, if not with the first one: that of a column before.
    """

    def __init__(
        self, path: Path, axis: int | None, free: frozenset[int], least: int, like: NDArray[Any] | None = None
    ) -> None:
        self.path = path
        self._stream = path.open("wb")
        self._axis = axis
        self._free = free
        self._least = least
        self._like = like
        self._first: NDArray[Any] | None = None
        self._rest: list[NDArray[Any]] = []
        self._count = 0

    def has_other_sizes(self, array: NDArray[Any]) -> bool:
        """Whether free axes of a feed have other sizes here."""
        first = self._first
        if first is None or array.ndim + (self._axis == -1) != first.ndim:
            return False
        before = first[0] if self._axis == -1 else first
        return any(array.shape[axis] != before.shape[axis] for axis in self._free)

    def next(self) -> _Column:
        """A column of the same input, for feeds of other sizes; this one is closed and its file taken away by then."""
        like = self._first if self._like is None else self._like
        return _Column(self.path, self._axis, self._free, self._least, like)

    def add(self, array: NDArray[Any], where: str) -> None:
        """The next feed's."""
        self._require_axes(array, where)
        if self._axis == -1:
            array = array[None]
        self._check(array, where)
        if self._first is None:
            self._first = array
            self._write_header(array, 0)
        if self._axis is None:
            return
        if self._streams:
            np.ascontiguousarray(array).tofile(self._stream)
            self._count += len(array)
        else:
            self._rest.append(array)

    def close(self) -> None:
        """Write what is still to be written."""
        if self._stream.closed:
            return
        with self._stream:
            if self._first is None:
                return
            if self._streams:
                self._stream.seek(0)
                self._write_header(self._first, self._count)
            else:
                self._stream.seek(0)
                self._stream.truncate()
                whole = self._first if self._axis is None else np.concatenate(self._rest, max(self._axis, 0))
                np.save(self._stream, whole)

    @property
    def _streams(self) -> bool:
        """Whether values are written as they come. Texts aren't: the longest may still come."""
        return self._axis in (0, -1) and self._first is not None and self._first.dtype.kind not in "US"

    def _require_axes(self, array: NDArray[Any], where: str) -> None:
        if array.ndim >= self._least:
            return
        counts = "" if self._axis in (None, -1) else f", of which axis {self._axis} counts samples"
        lone = "; give array[None] for one sample" if self._axis == 0 and array.ndim + 1 == self._least else ""
        must = f"it must have {quantity(self._least, 'axis', 'axes')}{counts}"
        raise DataError(f"{where} is {array.dtype} {array.shape}; {must}{lone}")

    def _check(self, array: NDArray[Any], where: str) -> None:
        first = self._first if self._like is None else self._like
        if first is None:
            return
        if self._axis is None:
            if not np.array_equal(array, first):
                raise DataError(f"{where} is shared by all samples, but differs from that of feed 0")
            return
        free = {axis + (self._axis == -1) for axis in self._free} | {max(self._axis, 0)}
        if not _are_alike(array.dtype, first.dtype) or _fixed(array, free) != _fixed(first, free):
            raise DataError(
                f"{where} is {array.dtype} {array.shape}, that of feed 0 is {first.dtype} {first.shape}: all but the "
                "number of samples and the sizes of free axes must be the same"
            )

    def _write_header(self, array: NDArray[Any], count: int) -> None:
        """Numpy leaves room in it for the first axis to grow."""
        shape = (count, *array.shape[1:])
        npy.write_array_header_1_0(
            self._stream, {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
        )


def _are_alike(first: np.dtype[Any], second: np.dtype[Any]) -> bool:
    """Whether two types are the same, be texts of other lengths."""
    return first == second or first.kind == second.kind in ("U", "S")


def _fixed(array: NDArray[Any], free: Collection[int]) -> tuple[int | None, ...]:
    """The shape, without the sizes of free axes."""
    return tuple(None if axis in free else size for axis, size in enumerate(array.shape))

"""The forms in which Python code has samples; those that are no path are put into files, which the stages read."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from domino_onnx.codec import shown
from domino_onnx.data import BatchAxes, Batching, InputSpec, batching_of, input_specs
from domino_onnx.errors import DataError
from domino_onnx.graph import read_model

__all__ = ["samples_file"]

_LABELS = "labels"


def samples_file(given: Any, keyword: str, folder: Path, model: Path, batch_axes: BatchAxes) -> Path:
    """The file or folder of the samples.

    All that is no path becomes an .npz. Feeds that come one by one pass through the disk: there may be more than memory
    holds, and the stages map them.

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
        _write_npz(path, {str(name): _array(value) for name, value in given.items()})
    elif _is_array(given):
        _write_npz(path, {_only(specs, keyword): _array(given)})
    elif isinstance(given, Iterable):
        _write_feeds(given, specs, batching_of(proto, specs, batch_axes), keyword, path)
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
    feeds: Iterable[Any], specs: Sequence[InputSpec], batching: Batching, keyword: str, path: Path
) -> None:
    columns: dict[str, _Column] = {}
    try:
        for number, feed in enumerate(feeds):
            arrays = _by_name(feed, specs, f"{keyword}: feed {number}")
            if columns and arrays.keys() != columns.keys():
                raise DataError(f"{keyword}: feed {number} has {sorted(arrays)}, feed 0 has {sorted(columns)}")
            for name, array in arrays.items():
                if name not in columns:
                    columns[name] = _Column(path.with_name(f"{keyword}.{len(columns)}.npy"), _axis(name, batching))
                columns[name].add(array, f"{keyword}: feed {number}: {name!r}")
    finally:
        for column in columns.values():
            column.close()
    if not columns:
        raise DataError(f"{keyword} holds no samples: the iterable gave nothing, or was used up before")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, column in columns.items():
            archive.write(column.path, f"{name}.npy")
            column.path.unlink()


def _axis(name: str, batching: Batching) -> int | None:
    """Along which feeds are joined; -1 where each is one sample, None where all have the same."""
    if name == _LABELS:
        return 0
    return -1 if batching.stacked else batching.axis(name)


def _by_name(feed: Any, specs: Sequence[InputSpec], where: str) -> dict[str, NDArray[Any]]:
    """The arrays of one feed: by input, or in the order of the inputs, perhaps with labels behind them."""
    if isinstance(feed, Mapping):
        return {str(name): _array(value) for name, value in feed.items()}
    names = [spec.name for spec in specs]
    parts = [feed] if _is_array(feed) else list(feed) if isinstance(feed, Sequence) else None
    if parts is None or not len(names) <= len(parts) <= len(names) + 1:
        raise DataError(
            f"{where} is {_told(feed)}; the model's inputs are {', '.join(map(repr, names))}: give arrays by name, or "
            "one for each input, and perhaps labels behind them"
        )
    return {name: _array(part) for name, part in zip([*names, _LABELS], parts, strict=False)}


def _told(feed: Any) -> str:
    return f"{len(feed)} parts" if isinstance(feed, tuple | list) else f"a {type(feed).__name__}"


def _only(specs: Sequence[InputSpec], keyword: str) -> str:
    if len(specs) != 1:
        names = ", ".join(repr(spec.name) for spec in specs) or "none"
        raise DataError(f"{keyword} is one array; the model's inputs are {names}: give arrays by name")
    return specs[0].name


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def _array(value: Any) -> NDArray[Any]:
    """A tensor of torch may have a gradient, and may be on a GPU."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
    return np.asarray(value)


class _Column:
    """The values of one input, feed by feed, in an .npy file whose header is written again at the end.

    Parameters
    ----------
    axis
        Along which they are joined; -1 stacks them, None takes the first one for all.
    """

    def __init__(self, path: Path, axis: int | None) -> None:
        self.path = path
        self._stream = path.open("wb")
        self._axis = axis
        self._first: NDArray[Any] | None = None
        self._rest: list[NDArray[Any]] = []
        self._count = 0

    def add(self, array: NDArray[Any], where: str) -> None:
        """The next feed's."""
        if self._axis == -1:
            array = array[None]
        if self._first is None:
            self._first = array
            self._write_header(array, 0)
        self._check(array, where)
        if self._axis in (0, -1):
            np.ascontiguousarray(array).tofile(self._stream)
            self._count += len(array)
        elif self._axis is not None:
            self._rest.append(array)

    def close(self) -> None:
        """Write what is still to be written."""
        with self._stream:
            if self._first is None:
                return
            if self._axis in (0, -1):
                self._stream.seek(0)
                self._write_header(self._first, self._count)
            else:
                self._stream.seek(0)
                self._stream.truncate()
                whole = self._first if self._axis is None else np.concatenate(self._rest, self._axis)
                np.save(self._stream, whole)

    def _check(self, array: NDArray[Any], where: str) -> None:
        first = self._first
        assert first is not None
        if self._axis is None:
            if not np.array_equal(array, first):
                raise DataError(f"{where} is shared by all samples, but differs from that of feed 0")
            return
        axis = max(self._axis, 0)
        if array.dtype != first.dtype or _others(array, axis) != _others(first, axis):
            raise DataError(
                f"{where} is {array.dtype} {array.shape}, that of feed 0 is {first.dtype} {first.shape}: all but the "
                "number of samples must be the same"
            )

    def _write_header(self, array: NDArray[Any], count: int) -> None:
        """Numpy leaves room in it for the first axis to grow."""
        shape = (count, *array.shape[1:])
        npy.write_array_header_1_0(
            self._stream, {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
        )


def _others(array: NDArray[Any], axis: int) -> tuple[int, ...]:
    return array.shape[:axis] + array.shape[axis + 1 :]

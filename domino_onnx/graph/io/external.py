"""Where are the external bytes of a tensor? Only inside the model's folder, read through a memory map.

What the ONNX package, ONNX Runtime and others refuse differs; this resolver refuses all of it: absolute paths, paths
that leave the folder, symbolic and hard links, anything that isn't a regular file, ranges outside the file.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.plurals import quantity

__all__ = [
    "ExternalRange",
    "declared_bytes",
    "is_external",
    "make_inline",
    "overlapping",
    "read_bytes",
    "read_range",
    "resolve",
    "set_entry",
    "was_external",
]


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalRange:
    """Bytes `offset` to `offset + length` of `path`, which the file calls `location`."""

    path: Path
    location: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind the range."""
        return self.offset + self.length


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's bytes are in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def was_external(tensor: TensorProto) -> bool:
    """Whether a tensor is inline now but was external when it was read: its entries are left as the mark of that.

    It becomes external again when it is written.
    """
    return bool(tensor.external_data) and not is_external(tensor) and tensor.HasField("raw_data")


def set_entry(tensor: TensorProto, key: str, value: str) -> None:
    """Set one entry of a tensor's external_data in its place, or at the end."""
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
            return
    tensor.external_data.add(key=key, value=value)


def resolve(tensor: TensorProto, folder: Path) -> ExternalRange:
    """Where a tensor's external bytes are.

    Raises
    ------
    ModelError
        If the location is unsafe, the file is missing, or the range doesn't fit the file or the tensor's shape.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path = _safe_path(location, folder, tensor.name)
    size = path.stat().st_size
    offset = _number(entries, "offset", 0, tensor.name)
    needed = declared_bytes(tensor)
    length = _number(entries, "length", size - offset if needed is None else needed, tensor.name)
    if offset + length > size:
        raise ModelError(
            f"tensor {tensor.name!r}: bytes {offset} to {offset + length} lie outside {location!r}, "
            f"which has {quantity(size, 'byte')}; the data file is cut short or belongs to another model"
        )
    if needed is not None and length != needed:
        raise ModelError(
            f"tensor {tensor.name!r}: its shape needs {quantity(needed, 'byte')}, the file declares {length:,}"
        )
    return ExternalRange(path, location, offset, length)


def read_range(tensor: TensorProto, where: ExternalRange) -> NDArray[np.generic]:
    """The tensor's values in its shape, one an element: a read-only memory map, but for types of less than a byte."""
    if tensor.data_type in _BITS:
        packed = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=read_bytes(where).tobytes())
        return numpy_helper.to_array(packed)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    shape = tuple(tensor.dims)
    if not where.length:
        return np.zeros(shape, dtype)
    return read_bytes(where).view(dtype).reshape(shape)


def read_bytes(where: ExternalRange) -> NDArray[np.uint8]:
    """The bytes of a range as a read-only memory map."""
    if not where.length:
        return np.zeros(0, np.uint8)
    descriptor = os.open(where.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as stream:
        return np.memmap(stream, dtype=np.uint8, mode="r", offset=where.offset, shape=(where.length,))


def make_inline(tensor: TensorProto, folder: Path) -> None:
    """Put a tensor's external bytes into the tensor itself."""
    where = resolve(tensor, folder)
    with where.path.open("rb") as stream:
        stream.seek(where.offset)
        tensor.raw_data = stream.read(where.length)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def overlapping(tensors: Iterable[TensorProto], folder: Path) -> set[int]:
    """The id() of each tensor whose external bytes another one reads too: writing one would change the other."""
    ranges: list[tuple[ExternalRange, int]] = sorted(
        ((resolve(tensor, folder), id(tensor)) for tensor in filter(is_external, tensors)),
        key=lambda item: (item[0].path, item[0].offset, item[0].end),
    )
    clashing: set[int] = set()
    furthest: tuple[ExternalRange, int] | None = None
    for where, identity in ranges:
        if furthest is not None and furthest[0].path == where.path and where.offset < furthest[0].end:
            clashing |= {furthest[1], identity}
        if furthest is None or furthest[0].path != where.path or where.end > furthest[0].end:
            furthest = (where, identity)
    return clashing


def declared_bytes(tensor: TensorProto) -> int | None:
    """Bytes that the declared shape and type need in a file; None for strings, and where no type is declared."""
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return None
    elements: int = math.prod(tensor.dims)
    if tensor.data_type in _BITS:
        return -(-elements * _BITS[tensor.data_type] // 8)
    return elements * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


_PACKED = re.compile(r"(?:U?INT|FLOAT)([246])(?:E\dM\d)?")
_BITS = {value: int(match[1]) for name, value in TensorProto.DataType.items() if (match := _PACKED.fullmatch(name))}
"""Of the types whose elements share bytes in a file: INT4, UINT2, FLOAT6E2M3 and others, as the installed onnx has."""


def _number(entries: dict[str, str], key: str, default: int, name: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelError(f"tensor {name!r}: external {key} {text!r} is not a non-negative number")
    return int(text)


def _safe_path(location: str, folder: Path, name: str) -> Path:
    if not location or "\0" in location or "\\" in location or os.path.isabs(location):
        raise ModelError(
            f"tensor {name!r}: external data location {location!r} is not a relative path; it must name a file in the "
            "model's folder"
        )
    relative = Path(os.path.normpath(location))
    if relative.parts[:1] in ((), ("..",)):
        raise ModelError(f"tensor {name!r}: external data location {location!r} lies outside the model's folder")
    path = folder
    for part in relative.parts:
        path = path / part
        _refuse_link(path, location, name)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"tensor {name!r}: external data {location!r} is not a regular file")
    if status.st_nlink > 1:
        raise ModelError(
            f"tensor {name!r}: external data {location!r} is a hard link, which can reach outside the model's folder; "
            "copy the file (cp --reflink=never) and try again"
        )
    return path


def _refuse_link(path: Path, location: str, name: str) -> None:
    try:
        if path.is_symlink():
            raise ModelError(
                f"tensor {name!r}: external data {location!r} passes through the symbolic link {path.name!r}, which "
                "can reach outside the model's folder; copy the model with its data (cp -rL) and try again"
            )
        path.lstat()
    except OSError as error:
        raise ModelError(
            f"tensor {name!r}: external data file {location!r} can't be read ({error.strerror}); it must lie next to "
            "the model"
        ) from None

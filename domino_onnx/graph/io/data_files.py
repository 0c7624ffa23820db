"""Which files hold the external data of a written model? They are in its folder, under a name that holds their hash."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.errors import OutputError
from domino_onnx.files import current_umask, escaped, put_in_place, reason_of, sha256_of, unfinished
from domino_onnx.graph.io.external import ExternalRange, is_external, read_bytes, resolve, set_entry, was_external
from domino_onnx.graph.io.read import OnnxFile, other_format
from domino_onnx.graph.walk import tensors
from domino_onnx.scheme import WeightKey

__all__ = ["check_data_name", "copy_patched", "drop_data", "lay_out", "new_data"]

_PAGE, _LINE = 4096, 64
"""What large and small tensors are aligned to in a data file: whole pages can be mapped into memory."""
_PIECE = 1 << 20
"""Bytes that are read and hashed at a time."""
_MAX_MODEL = 1 << 31
"""Bytes of the largest file that can be a model, whose data may lie outside it."""
_BEGINNING = 64
"""Bytes of a file that tell whether it may be a model."""
_DATA_FILE = re.compile(r"\.[0-9a-f]{16}\.data\Z")
"""How the names of data files end that we write."""


def check_data_name(file: OnnxFile, output: Path) -> None:
    """Refuse an output whose data file can't have its name, which is longer than the output's, before any work.

    Raises
    ------
    OutputError
        If the model has external data, and the system allows no name of that length.
    """
    if not file.data_files:
        return
    name = _data_name(output, "0" * 64)
    try:
        os.lstat(output.parent / name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"the output {str(output)!r:.200} can't have a data file: {reason_of(error)}. Its name would be "
            f"{len(name) - len(output.name)} characters longer; give a shorter one"
        ) from None


@contextlib.contextmanager
def new_data(output: Path) -> Iterator[dict[str, str]]:
    """For the names of new data files and their SHA-256. They go again if the model that they belong to isn't written.

    An interruption can come right behind the model's rename. What is under `output` tells whether they are in use.
    """
    before = _data_files(output)
    new: dict[str, str] = {}
    try:
        yield new
    except BaseException:
        drop_data(output, keep=before)
        raise


def copy_patched(
    file: OnnxFile,
    stored: Mapping[WeightKey, TensorProto],
    weights: Mapping[WeightKey, NDArray[np.generic]],
    output: Path,
    written: dict[str, str],
) -> None:
    """Copy each external data file to the output's folder, with the new values patched in; point all tensors there."""
    external = [(tensor, resolve(tensor, file.folder)) for tensor in filter(is_external, tensors(file.proto))]
    patches: dict[Path, list[tuple[ExternalRange, WeightKey]]] = {}
    for key, tensor in stored.items():
        if is_external(tensor):
            where = resolve(tensor, file.folder)
            patches.setdefault(where.path, []).append((where, key))
    names: dict[Path, str] = {}
    for path in sorted({where.path for _, where in external}):
        names[path], sha256 = _write_data_file(path, patches.get(path, []), weights, output)
        written[names[path]] = sha256
    changed = {id(tensor) for tensor in stored.values()}
    for tensor, where in external:
        _point_to(tensor, names[where.path], where, output.parent if id(tensor) in changed else None)


def lay_out(
    file: OnnxFile,
    stored: Mapping[WeightKey, TensorProto],
    weights: Mapping[WeightKey, NDArray[np.generic]],
    output: Path,
    written: dict[str, str],
) -> None:
    """Write all tensors that are or belong outside the model one behind the other, and point them there."""
    new = {id(tensor): key for key, tensor in stored.items()}
    outside = [tensor for tensor in tensors(file.proto) if is_external(tensor) or was_external(tensor)]
    if not outside:
        return
    with unfinished(output) as path:
        with path.open("wb") as stream:
            for tensor in outside:
                key = new.get(id(tensor)) if is_external(tensor) else None
                _append(stream, tensor, _bytes_of(tensor, file.folder) if key is None else weights[key])
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(0o666 & ~current_umask())
        sha256 = sha256_of(path)
        name = _name_data_file(path, output, sha256)
    for tensor in outside:
        set_entry(tensor, "location", name)
    written[name] = sha256


def drop_data(output: Path, keep: AbstractSet[str]) -> None:
    """Remove the other data files of this output's name that no file in its folder names, whatever that file is called.

    What can't be removed stays, which is no error.
    """
    with contextlib.suppress(OSError):
        unused = _data_files(output) - keep
        for path in output.parent.iterdir() if unused else ():
            if unused and _may_be_model(path):
                unused -= _mentioned(path, unused)
        for name in unused:
            (output.parent / name).unlink(missing_ok=True)


def _write_data_file(
    source: Path,
    patches: list[tuple[ExternalRange, WeightKey]],
    weights: Mapping[WeightKey, NDArray[np.generic]],
    output: Path,
) -> tuple[str, str]:
    """Its name and SHA-256. One pass from front to back, which hashes on the way; one weight at a time is in memory.

    Bytes that two patches share are the later one's.
    """
    digest = hashlib.sha256()
    with unfinished(output) as path:
        with source.open("rb") as dense, path.open("wb") as stream, ThreadPoolExecutor(1) as hashing:
            for where, key in sorted(patches, key=lambda patch: (patch[0].offset, patch[0].end)):
                _put(_stretch(dense, max(where.offset - stream.tell(), 0)), stream, hashing, digest)
                _put(_pieces(weights[key], stream.tell() - where.offset), stream, hashing, digest)
                dense.seek(stream.tell())
            _put(_stretch(dense, None), stream, hashing, digest)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(source, path)
        sha256 = digest.hexdigest()
        return _name_data_file(path, output, sha256), sha256


def _put(pieces: Iterable[memoryview | bytes], stream: IO[bytes], hashing: Executor, digest: hashlib._Hash) -> None:
    """Write and hash at the same time: neither holds Python's lock, and they take about as long."""
    for piece in pieces:
        hashed = hashing.submit(digest.update, piece)
        stream.write(piece)
        hashed.result()


def _stretch(stream: IO[bytes], length: int | None) -> Iterator[bytes]:
    """The next bytes of a file, to its end if no length is given."""
    left = -1 if length is None else length
    while left and (piece := stream.read(_PIECE if left < 0 else min(left, _PIECE))):
        left -= len(piece) if left > 0 else 0
        yield piece


def _pieces(values: NDArray[np.generic], first: int) -> Iterator[memoryview]:
    """The bytes of an array, from that one on."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    for start in range(first, data.size, _PIECE):
        yield data[start : start + _PIECE].data


def _point_to(tensor: TensorProto, name: str, where: ExternalRange, changed_in: Path | None) -> None:
    """Name the new data file; a checksum, which is of the tensor's own bytes, is renewed where they changed."""
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = name
        elif entry.key == "checksum" and changed_in is not None:
            with (changed_in / name).open("rb") as stream:
                stream.seek(where.offset)
                entry.value = hashlib.sha1(stream.read(where.length), usedforsecurity=False).hexdigest()


def _bytes_of(tensor: TensorProto, folder: Path) -> NDArray[np.generic]:
    if is_external(tensor):
        return read_bytes(resolve(tensor, folder))
    return np.frombuffer(tensor.raw_data, np.uint8)


def _append(stream: IO[bytes], tensor: TensorProto, values: NDArray[np.generic]) -> None:
    """Write a tensor's bytes, and note their place in it, but for the file's name."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    stream.write(bytes(-stream.tell() % (_PAGE if data.nbytes >= _PAGE else _LINE)))
    set_entry(tensor, "offset", str(stream.tell()))
    set_entry(tensor, "length", str(data.nbytes))
    if any(entry.key == "checksum" for entry in tensor.external_data):
        set_entry(tensor, "checksum", hashlib.sha1(data.data, usedforsecurity=False).hexdigest())
    stream.write(data.data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL


def _name_data_file(path: Path, output: Path, sha256: str) -> str:
    """Give a data file that is whole its name, which holds its hash."""
    name = _data_name(output, sha256)
    put_in_place(path, output.parent / name)
    return name


def _data_name(output: Path, sha256: str) -> str:
    return f"{output.name}.{sha256[:16]}.data"


def _data_files(output: Path) -> set[str]:
    """Names of the data files that this output, or an earlier one of its name, has or had."""
    pattern = re.compile(re.escape(output.name) + r"\.[0-9a-f]{16}\.data")
    return {path.name for path in output.parent.glob(f"{escaped(output.name)}.*.data") if pattern.fullmatch(path.name)}


def _may_be_model(path: Path) -> bool:
    """Whether a file may be a model, as copies that a user keeps are under any name. Data files are none."""
    return path.is_file() and not _DATA_FILE.search(path.name) and path.stat().st_size <= _MAX_MODEL


def _mentioned(path: Path, names: AbstractSet[str]) -> set[str]:
    """Those of the names that a file holds anywhere, if it begins as a model may; all if it can't be read."""
    try:
        with path.open("rb") as stream:
            if other_format(stream.read(_BEGINNING)) is not None:
                return set()
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return {os.fsdecode(found[0]) for found in _any_of(names).finditer(content)}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError):  # an empty file has no memory map
        return set(names) if path.stat().st_size else set()


def _any_of(names: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(os.fsencode(name)) for name in names))

"""Arrays from one .npz or .npy file, whatever it holds; nothing is unpickled, and no small file fills the memory."""

from __future__ import annotations

import contextlib
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.plurals import quantity

__all__ = ["map_npy", "map_npz", "read_npz"]

_MAX_BYTES = 64 << 30
_MAX_RATIO = 400  # an .npz of zeros packs 1000 : 1; real data do not
_SMALL = 256 << 20
_SUFFIX = ".npy"
_MAPPED = 64 << 20
"""Bytes from which on an array is mapped where that can be done."""
_ENCRYPTED = 1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a member: its mark, and how long its name and what follows the name are (APPNOTE.TXT 4.3.7)."""
_BROKEN = (
    ValueError,
    TypeError,
    OverflowError,
    RuntimeError,  # an encrypted member, an unknown way of packing, a header that is nested too deeply
    MemoryError,  # a header that declares more than there can be
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    lzma.LZMAError,
)
"""What zipfile, its decompressors and numpy's reader raise for a broken file."""


def read_npz(path: Path, only: str | None = None) -> dict[str, NDArray[Any]]:
    """The arrays by name; if `only` is given, that one if there is one.

    Raises
    ------
    ValueError
        Saying what is wrong: no .npz file, a broken one, one with pickles, or one that unpacks to what real arrays
        don't pack to.
    OSError
        If the file can't be read.
    """
    with _opened(path) as archive:
        names = {member.removesuffix(_SUFFIX): member for member in archive.namelist()}
        return {name: _array(archive, member) for name, member in names.items() if only in (None, name)}


def map_npz(path: Path) -> dict[str, NDArray[Any]]:
    """As `read_npz`, but arrays of 64 MiB or more are read-only memory maps unless the archive packs them.

    Nothing of a mapped array is read yet, nor is its checksum looked at.

    Raises
    ------
    ValueError, OSError
        As `read_npz`.
    """
    with _opened(path) as archive:
        return {member.filename.removesuffix(_SUFFIX): _found(archive, path, member) for member in archive.infolist()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; what is wrong with it as a ValueError."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive)
            yield archive
    except _BROKEN as problem:
        raise ValueError(str(problem) or type(problem).__name__) from None


def map_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file as a read-only memory map.

    Raises
    ------
    ValueError
        Saying what is wrong with the file.
    OSError
        If it can't be read.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as problem:
        raise ValueError(str(problem) or type(problem).__name__) from None
    return array


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Look at the sizes that the archive declares: no more than these is unpacked."""
    unpacked = sum(member.file_size for member in archive.infolist())
    packed = sum(member.compress_size for member in archive.infolist())
    if unpacked > _MAX_BYTES or (unpacked > _SMALL and unpacked > _MAX_RATIO * max(packed, 1)):
        raise ValueError(f"it unpacks {quantity(packed, 'byte')} to {unpacked:,}, which is not real data, or too much")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _found(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> NDArray[Any]:
    plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & _ENCRYPTED
    mapped = _mapped(path, member) if plain and member.file_size >= _MAPPED else None
    return _array(archive, member.filename) if mapped is None else mapped


def _mapped(path: Path, member: zipfile.ZipInfo) -> NDArray[Any] | None:
    """The array of an unpacked member as a map of the archive; None if its header isn't as plain as that needs."""
    if member.header_offset < 0:  # an archive that was cut short
        return None
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        mark, name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
        start = stream.seek(name + extra, os.SEEK_CUR)
        if mark != b"PK\x03\x04" or np.lib.format.read_magic(stream) != (1, 0):
            return None
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        offset = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or offset + size != start + member.file_size:
        return None
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")

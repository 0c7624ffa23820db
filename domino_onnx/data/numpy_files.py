"""Arrays from one .npz or .npy file, whatever it holds; nothing is unpickled, and no small file fills the memory."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_npy", "read_npz"]

_MAX_BYTES = 64 << 30
_MAX_RATIO = 400  # an .npz of zeros packs 1000 : 1; real data do not
_SMALL = 256 << 20
_SUFFIX = ".npy"
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
    lzma.LZMAError,
)
"""What zipfile, its decompressors and numpy's reader raise for a broken file."""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by name.

    Raises
    ------
    ValueError
        Saying what is wrong: no .npz file, a broken one, one with pickles, or one that unpacks to what real arrays
        don't pack to.
    OSError
        If the file can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive)
            return {name.removesuffix(_SUFFIX): _array(archive, name) for name in archive.namelist()}
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
        raise ValueError(f"it unpacks {packed} bytes to {unpacked}, which is not real data, or too much")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)

"""Arrays in a file that tells whether a byte of it was changed: an .npz with the SHA-256 of its bytes behind them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.numpy_files import read_npz

__all__ = ["is_sealed", "read_sealed", "write_sealed"]

_SEAL = b"\ndomino-onnx sha256 "
_LENGTH = len(_SEAL) + 2 * hashlib.sha256().digest_size
_CHUNK = 1 << 20


def write_sealed(stream: IO[bytes], arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write named arrays one by one, so that only one of them has to be in memory.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    hashed = _Hashed(stream)
    with zipfile.ZipFile(hashed, "w") as archive:  # type: ignore[call-overload]  # it needs no more than `write`
        for name, array in arrays:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    stream.write(_SEAL + hashed.digest.hexdigest().encode())


def read_sealed(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by name.

    Raises
    ------
    ValueError
        If a byte was changed after the file was written, or `read_npz` refuses it.
    OSError
        If it can't be read.
    """
    with path.open("rb") as stream:
        left = max(path.stat().st_size - _LENGTH, 0)
        digest = hashlib.sha256()
        while left and (chunk := stream.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        if stream.read() != _SEAL + digest.hexdigest().encode():
            raise ValueError("it was damaged or edited after it was written: its SHA-256 is another one")
    return read_npz(path)


def is_sealed(path: Path) -> bool:
    """Whether the file ends as those that `write_sealed` writes; its content isn't looked at."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - _LENGTH, 0))
            return stream.read(len(_SEAL)) == _SEAL
    except OSError:
        return False


class _Hashed:
    """A stream that can't be sought, which hashes what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

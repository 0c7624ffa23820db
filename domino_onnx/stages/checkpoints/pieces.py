"""One file of a checkpoint: what a stage returned, as a JSON document and arrays. No pickle, and sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from domino_onnx import codec
from domino_onnx.data.numpy_files import read_npz
from domino_onnx.errors import CheckpointError
from domino_onnx.files import Replacing, whole_file
from domino_onnx.scheme import NamedArrays
from domino_onnx.stages.checkpoints.sealed import read_sealed, write_sealed
from domino_onnx.stages.journal import Journal

__all__ = ["REMEDY", "Head", "Restore", "read_head", "read_piece", "write_piece"]

T = TypeVar("T")
Restore = Callable[[dict[str, Any], NamedArrays], T]
"""The value again, of a document and arrays. It raises a DominoError for what this run can't have kept."""
REMEDY = "delete it, or run without --resume"
_VERSION = 4
_HEAD, _ARRAY = "head", "array."
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds besides its arrays.

    Attributes
    ----------
    run
        What tells the run from others.
    bfloat16
        The arrays that are stored as integers of 16 bits.
    seconds, peaks, warnings
        What the journal held.
    """

    run: dict[str, Any]
    document: dict[str, Any]
    seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    bfloat16: tuple[str, ...] = ()
    version: int = _VERSION

    @classmethod
    def of(cls, run: Mapping[str, Any], document: Mapping[str, Any], journal: Journal) -> Head:
        """With the journal as it is now."""
        return cls(
            run=dict(run),
            document=dict(document),
            seconds=dict(journal.seconds),
            peaks=dict(journal.peaks),
            warnings=journal.warnings,
        )


def write_piece(path: Path, head: Head, arrays: NamedArrays) -> None:
    """Write the file, wholly or not at all. Arrays are asked for one by one.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    with whole_file(path, Replacing(force=True)) as stream:
        write_sealed(stream, _stored(head, arrays))


def read_piece(path: Path) -> tuple[Head, NamedArrays]:
    """What was written.

    Raises
    ------
    CheckpointError
        If the file can't be read, is of another version, or a byte of it was changed.
    """
    try:
        found = read_sealed(path)
        head = _decoded(found)
        arrays = {name.removeprefix(_ARRAY): array for name, array in found.items() if name.startswith(_ARRAY)}
        return head, arrays | {name: _as_bfloat16(name, arrays) for name in head.bfloat16}
    except (OSError, ValueError, CheckpointError) as problem:
        raise _unreadable(path, problem) from None


def read_head(path: Path) -> Head:
    """The head alone; whether other bytes of the file were changed isn't looked at.

    Raises
    ------
    CheckpointError
        If the file can't be read, or is of another version.
    """
    try:
        return _decoded(read_npz(path, _HEAD))
    except (OSError, ValueError, CheckpointError) as problem:
        raise _unreadable(path, problem) from None


def _stored(head: Head, arrays: NamedArrays) -> Iterator[tuple[str, NDArray[Any]]]:
    narrow = []
    for name, array in arrays.items():
        if array.dtype == _BFLOAT16:
            narrow.append(name)
        yield _ARRAY + name, array.view(np.uint16) if array.dtype == _BFLOAT16 else array
    text = codec.encode(msgspec.structs.replace(head, bfloat16=tuple(narrow)), finite=False)
    yield _HEAD, np.frombuffer(text.encode(), np.uint8)


def _decoded(found: NamedArrays) -> Head:
    if _HEAD not in found:
        raise ValueError("it has no head")
    document = codec.parse(found[_HEAD].tobytes(), what="its head", error=CheckpointError, finite=False)
    codec.require_version(document, "version", _VERSION, what="its head", error=CheckpointError)
    return codec.convert(document, Head, what="its head", error=CheckpointError)


def _as_bfloat16(name: str, arrays: NamedArrays) -> NDArray[Any]:
    if name not in arrays or arrays[name].dtype != np.uint16:
        raise ValueError(f"it has no array {name!r} of 16 bits")
    return arrays[name].view(_BFLOAT16)


def _unreadable(path: Path, problem: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is no checkpoint that can be read ({problem}): {REMEDY}")

"""What a run keeps in a folder so that it can be interrupted: no pickle, each file replaced as a whole.

A folder may have been damaged or edited. What is read of it is believed only after the part that saved it agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from domino_onnx import codec
from domino_onnx.data.numpy_files import read_npz
from domino_onnx.errors import CheckpointError, DominoError
from domino_onnx.files import folder_lock, remove_leftovers, whole_file
from domino_onnx.scheme import NamedArrays

__all__ = ["Checkpoint", "CheckpointFile"]

T = TypeVar("T")
_VERSION = 3
_HEAD, _ARRAY = "head", "array."
_REMEDY = "delete it and run again, or start again in another folder, without --resume"
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds besides its arrays; `bfloat16` names those that are stored as integers of 16 bits."""

    version: int
    run: dict[str, Any]
    document: dict[str, Any]
    bfloat16: tuple[str, ...]


class Checkpoint:
    """A folder with the files of one run.

    Parameters
    ----------
    folder
        Made if need be, in a folder that exists.
    run
        What tells this run from others, as JSON. A file that another run has left is an error that names what differs.
    resume
        Whether to go on from what the folder holds; if not, it must hold nothing.

    Raises
    ------
    CheckpointError
        If the folder can't be made, or holds a checkpoint that isn't to be resumed.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.run = codec.plain(run)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"can't make the folder {folder} for checkpoints: {error.strerror}") from None
        if not resume and any(folder.glob("*.npz")):
            raise CheckpointError(
                f"{folder} holds a checkpoint already: give --resume to go on from it, or another folder"
            )

    def file(self, name: str) -> CheckpointFile:
        """One of its files."""
        return CheckpointFile(self, name)


class CheckpointFile:
    """One file of a checkpoint: a JSON document and arrays."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint = checkpoint
        self._path = checkpoint.folder / f"{name}.npz"

    def save(self, document: Mapping[str, Any], arrays: NamedArrays) -> None:
        """Keep this instead of what was saved before, wholly or not at all.

        Raises
        ------
        CheckpointError
            If it can't be written.
        """
        narrow = tuple(name for name, array in arrays.items() if array.dtype == _BFLOAT16)
        head = _Head(version=_VERSION, run=self._checkpoint.run, document=dict(document), bfloat16=narrow)
        stored = {_ARRAY + name: array.view(np.uint16) if name in narrow else array for name, array in arrays.items()}
        stored[_HEAD] = np.frombuffer(codec.encode(head, finite=False).encode(), np.uint8)
        try:
            with folder_lock(self._path.parent):
                remove_leftovers(self._path)
                with whole_file(self._path, replace=True) as stream:
                    np.savez(stream, **stored)  # type: ignore[arg-type]
        except OSError as error:
            raise CheckpointError(f"can't write the checkpoint {self._path}: {error.strerror or error}") from None

    def load(self, restore: Callable[[dict[str, Any], NamedArrays], T]) -> T | None:
        """What `restore` makes of the document and the arrays that were saved last; None if nothing was.

        Parameters
        ----------
        restore
            Raises a DominoError for what it can't have saved.

        Raises
        ------
        CheckpointError
            If the file can't be read, is of another run, or is refused by `restore`.
        """
        if not self._path.exists():
            return None
        head, arrays = self._read()
        if head.version != _VERSION:
            raise CheckpointError(
                f"{self._path} has the version {head.version}; this program reads {_VERSION}: {_REMEDY}"
            )
        self._refuse_another(head.run)
        try:
            return restore(head.document, arrays)
        except DominoError as problem:
            raise CheckpointError(f"{self._path} can't be gone on from: {problem}; {_REMEDY}") from None

    def _read(self) -> tuple[_Head, dict[str, NDArray[Any]]]:
        try:
            found = read_npz(self._path)
            if _HEAD not in found:
                raise ValueError("it has no head")
            head = codec.decode(found[_HEAD].tobytes(), _Head, what="its head", error=CheckpointError, finite=False)
            arrays = {n.removeprefix(_ARRAY): array for n, array in found.items() if n.startswith(_ARRAY)}
            return head, arrays | {name: _as_bfloat16(name, arrays) for name in head.bfloat16}
        except (OSError, ValueError, CheckpointError) as error:
            raise CheckpointError(f"{self._path} is no checkpoint that can be read ({error}): {_REMEDY}") from None

    def _refuse_another(self, run: Mapping[str, Any]) -> None:
        ours = self._checkpoint.run
        others = sorted(key for key in {*ours, *run} if ours.get(key) != run.get(key))
        if others:
            said = "; ".join(f"{key} was {run.get(key)!r}, is {ours.get(key)!r}" for key in others)
            raise CheckpointError(
                f"{self._checkpoint.folder} is the checkpoint of another run: {said}. "
                "Give the same options, or another folder"
            )


def _as_bfloat16(name: str, arrays: NamedArrays) -> NDArray[Any]:
    if name not in arrays or arrays[name].dtype != np.uint16:
        raise ValueError(f"it has no array {name!r} of 16 bits")
    return arrays[name].view(_BFLOAT16)

"""What a run keeps in a folder so that it can be interrupted: no pickle, each file replaced as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from domino_onnx import codec
from domino_onnx.errors import CheckpointError
from domino_onnx.files import folder_lock, remove_leftovers, whole_file
from domino_onnx.scheme import NamedArrays

__all__ = ["Checkpoint", "CheckpointFile"]

_VERSION = 2
_HEAD, _ARRAY = "head", "array."
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

    def load(self) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]] | None:
        """What was saved last; None if nothing was.

        Raises
        ------
        CheckpointError
            If it can't be read, or is of another run.
        """
        if not self._path.exists():
            return None
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                text = archive[_HEAD].tobytes()
                head = codec.decode(text, _Head, what="its head", error=CheckpointError, finite=False)
                arrays = {n.removeprefix(_ARRAY): archive[n] for n in archive.files if n.startswith(_ARRAY)}
            arrays |= {name: arrays[name].view(_BFLOAT16) for name in head.bfloat16}
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, CheckpointError) as error:
            raise CheckpointError(f"{self._path} is no checkpoint that can be read ({error}); delete it") from None
        if head.version != _VERSION:
            raise CheckpointError(
                f"{self._path} has the version {head.version}; this program reads {_VERSION}. Delete it"
            )
        self._refuse_another(head.run)
        return head.document, arrays

    def _refuse_another(self, run: Mapping[str, Any]) -> None:
        ours = self._checkpoint.run
        others = sorted(key for key in {*ours, *run} if ours.get(key) != run.get(key))
        if others:
            said = "; ".join(f"{key} was {run.get(key)!r}, is {ours.get(key)!r}" for key in others)
            raise CheckpointError(
                f"{self._checkpoint.folder} is the checkpoint of another run: {said}. "
                "Give the same options, or another folder"
            )

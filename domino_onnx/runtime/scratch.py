"""Arrays within a budget of memory; those beyond it lie in a file that has no name and goes with the process."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import ScratchError
from domino_onnx.runtime.regions import Regions

__all__ = ["Held", "HeldArrays", "Scratch", "scratch_folder"]

_SMALL = 16 << 10
"""Bytes up to which an array always stays in memory."""
_MARGIN = 64 << 20
"""Bytes of the disk that are left free."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


_Key = TypeVar("_Key")


class Held:
    """An array that is kept until nothing refers to this any more."""

    def load(self) -> NDArray[Any]:
        """The array; one from the file is read anew each time.

        Raises
        ------
        ScratchError
            If the file can't be read.
        """
        raise NotImplementedError


class HeldArrays(Mapping[_Key, NDArray[Any]]):
    """Arrays that are held, by key; each is loaded whenever it is asked for."""

    def __init__(self, held: Mapping[_Key, Held]) -> None:
        self._held = held

    def only(self, keys: Container[_Key]) -> HeldArrays[_Key]:
        """Those of these keys."""
        return HeldArrays({key: held for key, held in self._held.items() if key in keys})

    def __getitem__(self, key: _Key) -> NDArray[Any]:
        return self._held[key].load()

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


class Scratch:
    """Keeps arrays in memory as long as the budget allows, and the others in one file.

    What was put first stays in memory. For arrays that are read in the same order again and again no other choice
    reads less from the file.

    Parameters
    ----------
    budget
        Bytes of arrays that may lie in memory. None: all do.
    folder
        Where the file is made when it is first needed. By default `scratch_folder()`.

    Attributes
    ----------
    budget
        As given.
    in_memory
        Bytes that lie in memory now.
    written
        Bytes that were written to the file so far.
    """

    def __init__(self, budget: int | None = None, folder: Path | None = None) -> None:
        self.budget = budget
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._regions = Regions()
        self._kept: weakref.WeakValueDictionary[int, _Kept] = weakref.WeakValueDictionary()
        self.in_memory = 0
        self.written = 0

    def hold(self, array: NDArray[Any]) -> Held:
        """Keep an array, which must not change from now on. The same array is kept once.

        Raises
        ------
        ScratchError
            If the file can't be made or written, or the disk has no room.
        """
        known = self._kept.get(id(array))
        if known is not None and known.array is array:
            return known
        if array.nbytes <= _SMALL or array.dtype.hasobject or self._fits(array.nbytes):
            kept = self._kept[id(array)] = _Kept(self, array)
            return kept
        return self._spilled(array)

    def _fits(self, size: int) -> bool:
        return self.budget is None or self.in_memory + size <= self.budget

    @property
    def disk(self) -> int:
        """Bytes of the file that are in use, gaps with them."""
        return self._regions.end

    def _spilled(self, array: NDArray[Any]) -> Held:
        offset = self._regions.take(array.nbytes)
        try:
            file = self._opened(self._regions.end)
            file.seek(offset)
            left = _bytes(np.ascontiguousarray(array))
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            self._regions.give_back(offset, array.nbytes)
            raise ScratchError(
                f"can't keep activations or weights in {self._where()}: {error.strerror}. Name a folder on a disk with "
                "more room with --scratch, allow more --memory, or give less --data or a smaller --batch-size"
            ) from None
        self.written += array.nbytes
        return _Spilled(self, offset, array)

    def _opened(self, size: int) -> IO[bytes]:
        """The file, with room for `size` bytes."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._where(), prefix="domino-onnx-", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        more = size - os.fstat(self._file.fileno()).st_size
        free = shutil.disk_usage(self._where()).free
        if more > 0 and free < more + _MARGIN:
            raise OSError(0, f"{free / 1e9:.1f} GB are free, and more is needed")
        return self._file

    def _where(self) -> Path:
        return self._folder or scratch_folder()

    def read(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array from the file.

        Raises
        ------
        ScratchError
            If it can't be read.
        """
        array = np.empty(shape, dtype)
        left = _bytes(array)
        try:
            file = self._opened(0)
            file.seek(offset)
            while left:
                got = file.readinto(left)  # type: ignore[attr-defined]
                if not got:
                    raise OSError(0, "it is shorter than it was")
                left = left[got:]
        except OSError as error:
            raise ScratchError(
                f"can't read activations or weights back from {self._where()}: {error.strerror}"
            ) from None
        return array

    def give_back(self, offset: int, size: int) -> None:
        """Free a region of the file, and all of the disk that it took if that was the last one."""
        self._regions.give_back(offset, size)
        if self._regions.end == 0 and self._file is not None and not self._file.closed:  # the interpreter may end
            self._file.truncate(0)


class _Kept(Held):
    """In memory, counted while it lives."""

    def __init__(self, scratch: Scratch, array: NDArray[Any]) -> None:
        self._scratch = scratch
        self.array = array
        scratch.in_memory += array.nbytes

    def load(self) -> NDArray[Any]:
        return self.array

    def __del__(self) -> None:
        self._scratch.in_memory -= self.array.nbytes


class _Spilled(Held):
    """In the file, whose region is free again when this goes."""

    def __init__(self, scratch: Scratch, offset: int, array: NDArray[Any]) -> None:
        self._scratch = scratch
        self._offset = offset
        self._size = array.nbytes
        self._shape = array.shape
        self._dtype = array.dtype

    def load(self) -> NDArray[Any]:
        return self._scratch.read(self._offset, self._shape, self._dtype)

    def __del__(self) -> None:
        self._scratch.give_back(self._offset, self._size)


def _bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data


def scratch_folder() -> Path:
    """Where large temporary files belong: not on a file system that is itself memory.

    It is TMPDIR where that is set, else the first of /var/tmp and the system's own choice that is on a disk.
    """
    usual = Path(tempfile.gettempdir())
    if os.environ.get("TMPDIR"):
        return usual
    candidates = [folder for folder in (Path("/var/tmp"), usual) if os.access(folder, os.W_OK)]  # noqa: S108
    return next((folder for folder in candidates if not _is_memory(folder)), usual)


def _is_memory(folder: Path) -> bool:
    """Whether the folder is on tmpfs, as Linux says; False where that isn't known."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines()]
    except OSError:
        return False
    resolved = folder.resolve()
    inside = [(Path(fields[1]), fields[2]) for fields in mounts if len(fields) > 2]
    kinds = [(len(place.parts), kind) for place, kind in inside if resolved.is_relative_to(place)]
    return max(kinds, default=(0, ""))[1] in _IN_MEMORY

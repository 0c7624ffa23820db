"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["current_umask", "escaped", "folder_lock", "sweep", "temporary_beside", "whole_file"]

_SUFFIX = ".domino-onnx.tmp"
_LONGEST = 100


@contextlib.contextmanager
def whole_file(output: Path) -> Iterator[IO[bytes]]:
    """A stream whose content stands under `output` at once when the block ends well, and nowhere otherwise."""
    path = temporary_beside(output)
    try:
        with path.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(0o666 & ~current_umask())
        path.replace(output)
        _sync_folder(output.parent)
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One writer at a time in this folder, where the system can lock one; without a trace in it.

    Writers sweep up what they find unfinished or orphaned, which must not be another's work.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def temporary_beside(output: Path) -> Path:
    """A new empty file in the output's folder, under a name that `sweep` knows."""
    descriptor, name = tempfile.mkstemp(suffix=_SUFFIX, prefix=f".{output.name[:_LONGEST]}.", dir=output.parent)
    os.close(descriptor)
    return Path(name)


def sweep(output: Path) -> None:
    """Remove temporary files that a killed run left for this output."""
    for path in output.parent.glob(f".{escaped(output.name[:_LONGEST])}.*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def escaped(name: str) -> str:
    """`name` as a glob pattern that matches it alone."""
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def current_umask() -> int:
    """What new files are not allowed, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. It has happened by now, so a disk that refuses doesn't undo it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One process at a time: locks of the system, which go with the process that has them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["folder_lock", "held"]


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


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """A file that this process alone holds within the block, where the system can lock one; it goes at the end.

    A file that a killed process left is no obstacle: the system has unlocked it. A file with content isn't ours: it
    stays as it is.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    OSError
        If it can't be made.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock_or_refuse(descriptor)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise BlockingIOError(f"{path} went while it was opened")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the work is done, and a file that stays is no obstacle
                if not os.fstat(descriptor).st_size:
                    path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock_or_refuse(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems have no locks
        return

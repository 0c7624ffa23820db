"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from domino_onnx.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "NOTHING",
    "Replacing",
    "check_output",
    "current_umask",
    "escaped",
    "folder_lock",
    "held",
    "put_in_place",
    "remove_all_leftovers",
    "remove_leftovers",
    "sha256_of",
    "unfinished",
    "whole_file",
]

_SUFFIX = ".domino-onnx.tmp"
_LONGEST = 100
"""Bytes of a name that a temporary file's name begins with."""


class Replacing:
    """Which files that exist a writer may replace: any with `force`, none without."""

    def __init__(self, *, force: bool = False) -> None:
        self.force = force

    def allows(self, output: Path) -> bool:  # noqa: ARG002  # a run that goes on looks at it
        """Whether what is there under this name may go."""
        return self.force

    def announce(self, output: Path, whole: Path, parts: Mapping[Path, str]) -> None:
        """Hear of a whole file before it is renamed to `output`.

        Parameters
        ----------
        parts
            Files that belong to it and are in place already, each with its SHA-256.
        """


NOTHING = Replacing()
"""Nothing that exists may be replaced."""


def check_output(output: Path, inputs: Iterable[Path], replacing: Replacing, *, what: str = "output") -> None:
    """Refuse a file's name before any work is done.

    Parameters
    ----------
    inputs
        Files and folders that are read: nothing of them is replaced, whatever may be.
    what
        The file's part in the work, as messages call it.

    Raises
    ------
    OutputError
        If it is an input, exists and may not be replaced, is no regular file, or can't be written.
    """
    try:
        _check_output(output, inputs, replacing, what)
    except (OSError, ValueError) as error:  # a name that is too long, for instance
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"the {what} {str(output)!r:.200} can't be written: {reason}; give another name") from None


def _check_output(output: Path, inputs: Iterable[Path], replacing: Replacing, what: str) -> None:
    if "\0" in str(output):
        raise ValueError("a name holds no NUL")
    if output.is_dir():
        raise OutputError(f"the {what} {output} is a folder; give the name of a file")
    lost = next((given for given in inputs if _would_lose(given, output)), None)
    if lost is not None:
        raise OutputError(f"the {what} {output} is the input itself, {lost}; give another name")
    if output.exists() and not output.is_file():
        raise OutputError(f"the {what} {output} is no regular file, so that it can't be replaced; give another name")
    if output.exists() and not replacing.allows(output):
        raise OutputError(f"the {what} {output} exists; give another name, or --force to replace it")
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} of the {what} doesn't exist; make it first")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"the folder {output.parent} of the {what} can't be written to")


def _would_lose(given: Path, output: Path) -> bool:
    """Whether writing `output` would replace what is read from `given`, or a file in that folder."""
    if not given.exists() or not output.exists():
        return False
    return output.samefile(given) or (given.is_dir() and output.parent.samefile(given))


@contextlib.contextmanager
def whole_file(
    output: Path,
    replacing: Replacing,
    *,
    what: str = "output",
    parts: Mapping[Path, str] = MappingProxyType({}),
) -> Iterator[IO[bytes]]:
    """A stream whose content appears under `output` at once when the block ends well, and nowhere otherwise.

    Parameters
    ----------
    replacing
        Whether a file of that name may go. Hold the `folder_lock` where it may not: no other run comes in between then.
    what
        The file's part in the work, as messages call it.
    parts
        As `Replacing.announce`.

    Raises
    ------
    OutputError
        If the file exists by the end of the block, and may not be replaced.
    OSError
        If the disk refuses. The file has not appeared then, and one that was there before is unchanged.
    """
    with unfinished(output) as path:
        with path.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(0o666 & ~current_umask())
        replacing.announce(output, path, parts)
        if output.exists() and not replacing.allows(output):
            raise OutputError(
                f"the {what} {output} exists by now: another run wrote it meanwhile. Give another name, or --force to "
                "replace it"
            )
        put_in_place(path, output)


@contextlib.contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """A new empty file in the output's folder; it goes if the block fails before it has been renamed.

    `remove_leftovers` knows its name.
    """
    path = output.parent / f".{_short(output.name)}.{secrets.token_hex(8)}{_SUFFIX}"
    try:
        with open(path, "xb", opener=_private):
            pass
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # the error that led here is the one to tell
            path.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def put_in_place(path: Path, output: Path) -> None:
    """Rename a whole file, and make the rename durable.

    Raises
    ------
    OSError
        If it was not renamed. Once it was, a disk that refuses doesn't undo it, and is no error.
    """
    path.replace(output)
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(OSError):
            _sync(output.parent)


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

    A file that a killed process left is no obstacle: the system has unlocked it.

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


def remove_leftovers(output: Path) -> None:
    """Remove temporary files that a killed run left for this output."""
    for path in output.parent.glob(f".{escaped(_short(output.name))}.*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def _short(name: str) -> str:
    """The beginning of a name. Systems limit a name's bytes, of which a character may take four."""
    return name.encode(errors="surrogateescape")[:_LONGEST].decode(errors="ignore")


def remove_all_leftovers(folder: Path, ending: str) -> None:
    """Remove temporary files that killed runs left for files that end so, where no other run writes any now."""
    for path in folder.glob(f".*{ending}.*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, as hexadecimal digits; OSError if it can't be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def escaped(name: str) -> str:
    """`name` as a glob pattern that matches it alone."""
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def current_umask() -> int:
    """What new files are not allowed, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from domino_onnx.errors import OutputError
from domino_onnx.files.replacing import Replacing

__all__ = [
    "current_umask",
    "escaped",
    "put_in_place",
    "reason_of",
    "remove_all_leftovers",
    "remove_leftovers",
    "unfinished",
    "whole_file",
]

_SUFFIX = ".domino-onnx.tmp"
_LONGEST = 100
"""Bytes of a name that a temporary file's name begins with."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def reason_of(error: Exception) -> str:
    """What hindered a file from being written, without its number, and what to do about a full disk."""
    reason = str(getattr(error, "strerror", None) or error)
    return f"{reason}; make room, or write elsewhere" if getattr(error, "errno", None) in _FULL else reason


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

"""What a run has put in place itself: the same run may replace it when it goes on, unless somebody changed it since."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.files import Replacing, sha256_of
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.checkpoints.pieces import read_piece
from domino_onnx.stages.checkpoints.run_folder import PLACED, RunFolder

__all__ = ["Placed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Placing:
    """One file that was about to be renamed to `output`: its SHA-256 and that of the files that belong to it."""

    output: str
    files: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Placings:
    """The document."""

    placings: tuple[_Placing, ...] = ()


class Placed(Replacing):
    """Also what an interrupted run has put in place, where this run goes on from it.

    A file counts as the run's own if its bytes, and those of its external data, are the ones that the run kept the
    SHA-256 of before it renamed them.

    Parameters
    ----------
    left
        The folder of the interrupted run. None: this run doesn't go on from one.
    checkpoint
        Keeps what this run puts in place. Without it, nothing is written.
    """

    def __init__(self, *, force: bool, left: Path | None, checkpoint: Checkpoint | None = None) -> None:
        super().__init__(force=force)
        self._left = left
        self._checkpoint = checkpoint
        self._new: list[_Placing] = []

    def allows(self, output: Path) -> bool:
        """Whether what is there under this name may go.

        Raises
        ------
        CheckpointError
            If what the interrupted run has kept can't be read.
        """
        return self.force or (output.is_file() and any(map(_is_unchanged, self._earlier_of(output))))

    def announce(self, output: Path, whole: Path, parts: Mapping[Path, str]) -> None:
        """Keep the SHA-256 of a whole file before it is renamed."""
        if self._checkpoint is None or not self._checkpoint.keeps:
            return
        files = {_name(output): sha256_of(whole), **{_name(path): sha256 for path, sha256 in parts.items()}}
        self._new.append(_Placing(output=_name(output), files=tuple(files.items())))
        placings = tuple(dict.fromkeys((*self._earlier, *self._new)))
        self._checkpoint.keep(PLACED, plain(_Placings(placings=placings)), {})

    @functools.cached_property
    def _earlier(self) -> tuple[_Placing, ...]:
        path = None if self._left is None else RunFolder(self._left).piece(PLACED)
        if path is None or not path.exists():
            return ()
        head, _ = read_piece(path)
        return convert(head.document, _Placings, what=f"the document in {path}", error=CheckpointError).placings

    def _earlier_of(self, output: Path) -> Iterator[_Placing]:
        name = _name(output)
        return (placing for placing in self._earlier if placing.output == name)


def _is_unchanged(placing: _Placing) -> bool:
    """Whether each of its files has the bytes that were put there, or is gone."""
    with contextlib.suppress(OSError):
        return all(_sha256(Path(name)) in (sha256, None) for name, sha256 in placing.files)
    return False


def _sha256(path: Path) -> str | None:
    """None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return _sha256_of(path, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@functools.lru_cache(maxsize=32)
def _sha256_of(path: Path, _: tuple[int, ...]) -> str:
    """Kept for as long as the file's status is the same: an output is looked at several times in a run."""
    return sha256_of(path)


def _name(path: Path) -> str:
    """The file's own name and place, links in its folder followed."""
    return str(path.parent.resolve() / path.name)

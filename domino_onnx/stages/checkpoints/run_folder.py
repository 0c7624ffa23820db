"""The folder of a run: which process uses it, and which of the files in it are pieces of a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from domino_onnx.files import held, remove_all_leftovers
from domino_onnx.stages.checkpoints.sealed import is_sealed

__all__ = ["PLACED", "RunFolder", "holds_checkpoint"]

PLACED = "placed"
"""The name of what tells which outputs are this run's own (`domino_onnx.stages.checkpoints.placed`). It goes last."""
_LOCK = ".domino-onnx.lock"
_PIECE = ".npz"


class RunFolder:
    """A folder that one run at a time takes for itself. It need not be there yet.

    Attributes
    ----------
    is_held
        Whether this run has taken it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_held = False
        self._lock = contextlib.ExitStack()

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> None:
        """Make it where it isn't there; OSError if that can't be done."""
        self.path.mkdir(exist_ok=True)

    def take(self) -> None:
        """Take it, which has to be there.

        Raises
        ------
        BlockingIOError
            If another run has it.
        OSError
            If nothing can be written there.
        """
        self._lock.enter_context(held(self.path / _LOCK))
        self.is_held = True

    def release(self) -> None:
        """Let others take it."""
        self._lock.close()

    def leave(self) -> None:
        """Let others take it; one that this run had goes where it is empty."""
        try:
            self.release()
        finally:  # an interruption may come meanwhile
            if self.is_held:
                with contextlib.suppress(OSError):  # it is not empty
                    self.path.rmdir()

    def piece(self, name: str) -> Path:
        """The file of a piece, be it there or not."""
        return self.path / f"{name}{_PIECE}"

    def files(self) -> list[Path]:
        """What looks like pieces, in order."""
        return sorted(self.path.glob(f"*{_PIECE}"))

    def pieces(self) -> list[str]:
        """The names of the pieces that are there, `PLACED` last."""
        return sorted((path.stem for path in self.files() if is_sealed(path)), key=lambda name: name == PLACED)

    def remove(self, names: Iterable[str]) -> None:
        """Remove these pieces; OSError if one can't be."""
        for name in names:
            self.piece(name).unlink()

    def tidy(self) -> None:
        """Remove what killed runs left half written."""
        remove_all_leftovers(self.path, _PIECE)


def holds_checkpoint(folder: Path) -> bool:
    """Whether an interrupted run has left something in this folder that can be gone on from."""
    return bool(RunFolder(folder).pieces())

"""What a run's stages returned is kept in a folder while the run lasts, so that an interruption costs little."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from domino_onnx import codec
from domino_onnx.errors import BudgetError, CheckpointError, DominoError
from domino_onnx.scheme import NamedArrays
from domino_onnx.stages.checkpoints.pieces import REMEDY, Head, Restore, read_head, read_piece, write_piece
from domino_onnx.stages.checkpoints.run_folder import RunFolder
from domino_onnx.stages.checkpoints.sealed import is_sealed
from domino_onnx.stages.checkpoints.training_state import TrainingState
from domino_onnx.stages.journal import Journal

__all__ = ["Checkpoint"]

T = TypeVar("T")
Pack = Callable[[T], tuple[Mapping[str, Any], NamedArrays]]
"""A document and arrays of a value."""


class Checkpoint:
    """A folder that a run uses alone within a `with` block.

    It is made when there is something to keep. It goes when the block ends well, or no budget can be met. Where the
    disk refuses, the user is told once, and the run goes on.

    Parameters
    ----------
    folder
        None: nothing is kept.
    journal
        Of the run. Its entries are kept too, so that a report tells of the whole run.
    resume
        Whether to go on from what the folder holds. If not, that is replaced when there is something to keep.
    after
        Seconds from the start of the run before anything is written.
    named
        Whether the user named the folder: then it is made at once, and an error if it can't be used.
    """

    def __init__(
        self,
        folder: Path | None = None,
        journal: Journal | None = None,
        *,
        resume: bool = False,
        after: float = 0.0,
        named: bool = True,
    ) -> None:
        self._folder = RunFolder(folder or Path())
        self._keeps = folder is not None
        self._journal = journal or Journal()
        self._resume = resume
        self._after = after
        self._named = named
        self._run: dict[str, Any] = {}
        self._found: set[str] = set()
        self._pending: dict[str, tuple[Head, NamedArrays]] = {}
        self._begun = self._complained = False

    def __enter__(self) -> Checkpoint:
        """Take the folder.

        Raises
        ------
        CheckpointError
            If another run uses it; if it can't be used, and was named or is to be resumed.
        """
        if not self._keeps:
            return self
        with contextlib.ExitStack() as undone:
            undone.callback(self._folder.release)
            try:
                if self._named:
                    self._folder.make()
                if self._folder.path.exists():
                    self._folder.take()
                self._look(self._folder.files())
            except BlockingIOError:
                raise CheckpointError(
                    f"{self._folder} is in use by another run, which writes the same output: wait for its end, or give "
                    "another output"
                ) from None
            except OSError as error:
                self._give_up(f"can't make the folder {self._folder} for checkpoints: {error.strerror}")
            undone.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None or (isinstance(error, BudgetError) and self._begun):
                self._remove()
            else:
                self._flush()
        finally:  # an interruption may come meanwhile
            self._folder.leave()

    def is_of(self, run: Mapping[str, Any]) -> None:
        """Say what tells this run from others, as JSON, before anything is kept or loaded.

        Raises
        ------
        CheckpointError
            If the run is to go on from what another one left; it names what differs.
        """
        self._run = codec.plain(run)
        for name in sorted(self._found):
            self._refuse_another(read_head(self._folder.piece(name)))

    def once(self, name: str, make: Callable[[], T], pack: Pack[T], restore: Restore[T], *instead: str) -> T:
        """What was kept under this name, or else what `make` gives, kept from now on.

        Parameters
        ----------
        instead
            Glob patterns of what isn't needed any more once this is kept.

        Raises
        ------
        CheckpointError
            As `load`.
        """
        value = self.load(name, restore)
        if value is None:
            value = make()
            if self.keep(name, *pack(value)):
                self._forget(instead)
        return value

    def keep(self, name: str, document: Mapping[str, Any], arrays: NamedArrays) -> bool:
        """Keep this instead of what was kept under this name before, wholly or not at all; whether that was done."""
        if not self._keeps:
            return False
        self._pending[name] = (Head.of(self._run, document, self._journal), arrays)
        return self._flush()

    def load(self, name: str, restore: Restore[T]) -> T | None:
        """What `restore` makes of what an earlier attempt kept; None if it kept nothing, or isn't to be resumed.

        Raises
        ------
        CheckpointError
            If the file can't be read, a byte of it was changed, or `restore` refuses it.
        """
        if name not in self._found:
            return None
        path = self._folder.piece(name)
        head, arrays = read_piece(path)
        self._refuse_another(head)
        with _refusing(path):
            value = restore(head.document, arrays)
        self._journal.resume(head.seconds, head.peaks, head.warnings)
        return value

    def settle(self) -> None:
        """Write what is still to be written, or let go of it: the model is about to leave memory."""
        self._flush()
        self._pending.clear()

    @property
    def found(self) -> frozenset[str]:
        """Names of what an earlier attempt had kept, as found at the start. Those removed since are among them."""
        return frozenset(self._found)

    def look_at(self, name: str, read: Callable[[dict[str, Any]], T]) -> T | None:
        """What `read` makes of the document that was found under this name; None if there is none.

        Raises
        ------
        CheckpointError
            If the file can't be read, or `read` refuses its document.
        """
        if name not in self._found:
            return None
        path = self._folder.piece(name)
        head = read_head(path)
        with _refusing(path):
            return read(head.document)

    def file(self, name: str, every: float) -> TrainingState:
        """One of its files, for a training that saves its state every so many seconds."""
        return TrainingState(self, name, every)

    @property
    def keeps(self) -> bool:
        """Whether what is found is kept, now or once the run is ripe."""
        return self._keeps

    @property
    def is_ripe(self) -> bool:
        """Whether the run has lasted so long that it is worth keeping."""
        return self._keeps and self._journal.elapsed >= self._after

    def _look(self, left: list[Path]) -> None:
        """Decide what becomes of the files that an earlier run left."""
        foreign = next((path for path in left if not is_sealed(path)), None)
        if foreign is not None:
            self._give_up(f"{foreign} is damaged, or no part of a checkpoint: move it away, or give another folder")
        elif self._resume and not left:
            self._journal.tell(f"nothing is kept in {self._folder} to go on from: the run starts at its beginning")
        elif self._resume:
            self._found = {path.stem for path in left}
            self._journal.note(f"going on from what an earlier run had found, in {self._folder}")
        elif left:
            self._journal.tell(
                f"an earlier run was interrupted, and what it had found is kept in {self._folder}: --resume goes on "
                "from it. This run starts anew, and replaces it as soon as there is something to keep"
            )

    def _give_up(self, problem: str) -> None:
        """Keep nothing. It is an error where the user relies on it."""
        if self._named or self._resume:
            raise CheckpointError(problem)
        self._complain(problem)
        self._keeps = False

    def _complain(self, problem: str) -> None:
        if not self._complained:
            self._journal.tell(f"what this run finds can't be kept, so that an interruption loses it: {problem}")
        self._complained = True

    def _flush(self) -> bool:
        """Write what is to be written, if the run has lasted long enough; False if the disk refuses."""
        if not self.is_ripe or not self._pending:
            return True
        try:
            self._begin()
            for name in list(self._pending):
                write_piece(self._folder.piece(name), *self._pending[name])
                del self._pending[name]
        except OSError as error:
            self._pending.clear()
            busy = isinstance(error, BlockingIOError)
            self._complain(f"{self._folder}: {'another run uses it' if busy else error.strerror or error}")
            return False
        return True

    def _begin(self) -> None:
        """Make the folder, and remove what an earlier run left that this one doesn't go on from."""
        if self._begun:
            return
        self._folder.make()
        if not self._folder.is_held:
            self._folder.take()
        self._folder.remove(name for name in self._folder.pieces() if name not in self._found)
        self._folder.tidy()
        self._begun = True

    def _forget(self, patterns: tuple[str, ...]) -> None:
        for name in [each for each in self._pending if _matches(each, patterns)]:
            del self._pending[name]
        if self._begun and not self._pending:
            with contextlib.suppress(OSError):  # what stays is read no more
                self._folder.remove(name for name in self._folder.pieces() if _matches(name, patterns))

    def _remove(self) -> None:
        """Nothing is left to go on to; what another run left stays, if this one has not replaced it."""
        if not self._keeps or not self._folder.is_held:
            return
        with contextlib.suppress(OSError, CheckpointError):
            names = self._folder.pieces()
            if self._begun or all(read_head(self._folder.piece(name)).run == self._run for name in names):
                self._folder.remove(names)
                self._folder.tidy()

    def _refuse_another(self, head: Head) -> None:
        others = sorted(key for key in {*self._run, *head.run} if self._run.get(key) != head.run.get(key))
        if others:
            said = "; ".join(f"{key} was {head.run.get(key)!r}, is {self._run.get(key)!r}" for key in others)
            raise CheckpointError(
                f"{self._folder} is the checkpoint of another run: {said}. Give the same options, or run without "
                "--resume"
            )


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Errors within the block are those of a file that can't be gone on from."""
    try:
        yield
    except DominoError as problem:
        raise CheckpointError(f"{path} can't be gone on from: {problem}; {REMEDY}") from None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

"""Where output goes: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from domino_onnx.report.text import printable

__all__ = ["ProgressObserver", "observing", "present", "present_or_json"]

_WIDEST = 120
_TITLES = {
    "read": "reading",
    "bridge": "building the torch model",
    "search": "choosing schemes",
    "refit": "refitting",
    "try": "trying a plan",
    "finetune": "finetuning",
    "write": "writing",
    "evaluate": "comparing with the dense model",
}


class ProgressObserver:
    """Shows stages and their progress as bars, with the time left, on stderr."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: Any = None

    def stage(self, name: str) -> None:
        """A new bar; the one before is done."""
        if self._progress is None:
            return
        self.finish()
        self._task = self._progress.add_task(_TITLES.get(name, name), total=None, text="")

    def progress(self, done: float, total: float, text: str) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=min(done, total), total=total, text=text)

    def warn(self, message: str) -> None:
        """One line above the bars."""
        line = f"warning: {printable(message, 1000)}"
        if self._progress is not None:
            self._progress.console.print(Text(line, style="yellow"))
        else:
            click.echo(line, err=True)

    def finish(self) -> None:
        """Mark the stage that runs as done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=1, completed=1)


@contextlib.contextmanager
def observing(quiet: bool) -> Iterator[ProgressObserver]:
    """An observer for the time of a command; silent but for warnings if `quiet`, or where stderr is no terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield ProgressObserver(None)
        return
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console) as progress:
        observer = ProgressObserver(progress)
        yield observer
        observer.finish()


def present(view: RenderableType) -> None:
    """Print a result; wide enough for its columns where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDEST, no_color=True)
    console.print(view)


def present_or_json(view: RenderableType, document: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """The document with ``--json``, else the view, unless quiet."""
    if as_json:
        from domino_onnx.report.document import dump

        click.echo(dump(document))
    elif not quiet:
        present(view)


def default_output(model: Path) -> Path:
    """``model.onnx`` becomes ``model.sparse.onnx`` beside it."""
    return model.parent / f"{model.stem}.sparse{model.suffix or '.onnx'}"

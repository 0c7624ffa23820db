"""The names of files that a command is going to write: refused before any work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from domino_onnx.errors import OutputError
from domino_onnx.files import Replacing, check_output
from domino_onnx.options import CompressOptions

__all__ = ["check_given", "check_outputs", "folder_for"]


def check_given(options: CompressOptions) -> None:
    """Refuse a model in place of data, and a plan that can't be read: before a word of outputs, which hides that.

    Raises
    ------
    DataError
        If a file of samples is a model by its name.
    PlanError
        If the plan of the goal can't be read.
    """
    from domino_onnx.data import check_no_model
    from domino_onnx.stages import given_plan

    for path in (options.data.path, options.data.evaluation):
        if path is not None:
            check_no_model(path)
    given_plan(options)


def check_outputs(
    output: Path | None,
    report: Path | None,
    models: Sequence[Path],
    inputs: Iterable[Path | None],
    replacing: Replacing,
    *,
    what: str = "output",
) -> None:
    """Refuse names of files before any work is done: each can be written, none is an input, and no two are the same.

    Parameters
    ----------
    models
        The models that are read. Their data files count as inputs.
    inputs
        What else is read; None where nothing was given.
    what
        What `output` is, as messages call it.
    """
    read = [*models, *(path for path in inputs if path is not None)]
    if any(path is not None and path.exists() and replacing.allows(path) for path in (output, report)):
        read += _data_files(models)
    if output is not None:
        check_output(output, read, replacing, what=what)
    if report is None:
        return
    if report.suffix.lower() not in (".html", ".json"):
        raise click.UsageError(f"--report {report}: the name must end in .html or .json")
    check_output(report, read, replacing, what="report")
    if output is not None and report.resolve() == output.resolve():
        raise click.UsageError(f"the report and the {what} are both {report}; give another name for one of them")


def _data_files(models: Iterable[Path]) -> list[Path]:
    """The files that hold the models' external data."""
    from domino_onnx.graph import read_model

    return [path for model in models for path in sorted(read_model(model).data_files)]


@contextlib.contextmanager
def folder_for(
    folder: Path, names: Iterable[str], inputs: Iterable[Path | None], replacing: Replacing
) -> Iterator[None]:
    """A folder for the block, in which files of these names can be written; refused before any work is done.

    One that is made for it goes again if the block fails before anything is in it.
    """
    existed, read = folder.exists(), [path for path in inputs if path is not None]
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror or error}") from None
    try:
        for path in (folder / name for name in names):
            if path.exists() and not replacing.allows(path):
                raise OutputError(f"{path} exists; give another folder, or --force to replace it")
            check_output(path, read, replacing, what="plan")
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise

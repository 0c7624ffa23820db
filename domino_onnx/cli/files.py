"""Plans and reports as files: whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domino_onnx.errors import OutputError
from domino_onnx.files import check_output, folder_lock, remove_leftovers, whole_file

if TYPE_CHECKING:
    from domino_onnx.report.results import CompressResult, SweepResult

__all__ = ["check_outputs", "folder_for", "write_report", "write_sweep_report", "write_text"]


def write_text(path: Path, text: str, *, force: bool, what: str) -> None:
    """Write a UTF-8 file; `what` is what messages call it.

    Raises
    ------
    OutputError
        If that can't be done, or the file exists by now, and not `force`.
    """
    try:
        with folder_lock(path.parent):
            remove_leftovers(path)
            with whole_file(path, replace=force, what=what) as stream:
                stream.write(text.encode())
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}") from None


def check_outputs(
    output: Path | None,
    report: Path | None,
    models: Sequence[Path],
    inputs: Iterable[Path | None],
    *,
    force: bool,
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
    if force and any(path is not None and path.exists() for path in (output, report)):
        read += _data_files(models)
    if output is not None:
        check_output(output, read, force=force, what=what)
    if report is None:
        return
    if report.suffix.lower() not in (".html", ".json"):
        raise click.UsageError(f"--report {report}: the name must end in .html or .json")
    check_output(report, read, force=force, what="report")
    if output is not None and report.resolve() == output.resolve():
        raise click.UsageError(f"the report and the {what} are both {report}; give another name for one of them")


def _data_files(models: Iterable[Path]) -> list[Path]:
    """The files that hold the models' external data."""
    from domino_onnx.graph import read_model

    return [path for model in models for path in sorted(read_model(model).data_files)]


@contextlib.contextmanager
def folder_for(folder: Path, names: Iterable[str], inputs: Iterable[Path | None], *, force: bool) -> Iterator[None]:
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
            if path.exists() and not force:
                raise OutputError(f"{path} exists; give another folder, or --force to replace it")
            check_output(path, read, force=force, what="plan")
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_sweep_report(path: Path, result: SweepResult, *, force: bool) -> None:
    """Write the report of a sweep, as HTML or JSON by its suffix; `check_outputs` has cleared the way."""
    from domino_onnx.report.documents import dump
    from domino_onnx.report.page import sweep_page
    from domino_onnx.report.sweep import sweep_document

    html = path.suffix.lower() == ".html"
    text = sweep_page(result) if html else dump(sweep_document(result)) + "\n"
    write_text(path, text, force=force, what="report")


def write_report(path: Path, result: CompressResult, *, force: bool) -> None:
    """Write the report of a run, as HTML or JSON by its suffix; `check_outputs` has cleared the way."""
    if path.suffix.lower() == ".html":
        from domino_onnx.report.page import compress_page

        text = compress_page(result)
    else:
        from domino_onnx.report.compressed_document import compress_document
        from domino_onnx.report.documents import dump

        text = dump(compress_document(result)) + "\n"
    write_text(path, text, force=force, what="report")

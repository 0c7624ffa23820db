"""The last files of a run: its report, and the plans of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domino_onnx.errors import OutputError
from domino_onnx.files import Replacing, folder_lock, reason_of, remove_leftovers, whole_file
from domino_onnx.report.results import CompressResult, SweepResult

__all__ = ["check_plans", "name_of_plan", "write_plans", "write_report", "write_sweep_report", "write_text"]


def name_of_plan(share: float) -> str:
    """What the plan of a share of zeros is called in the folder of a sweep's plans; no two shares have one name."""
    return f"{float(share)!r}.json"


def check_plans(folder: Path, shares: Iterable[float], report: Path | None) -> None:
    """Refuse a report that is one of a sweep's plans, before any work is done.

    Raises
    ------
    OutputError
        If both are one file, also where only capitals differ: some systems take them as one.
    """
    if report is None or report.parent.resolve() != folder.resolve():
        return
    if report.name.lower() in map(name_of_plan, shares):
        raise OutputError(f"the report {report} is also one of the plans; give another name for it")


def write_report(path: Path, result: CompressResult, replacing: Replacing) -> None:
    """Write the report of a run, as HTML or JSON by its suffix; OutputError as `write_text`."""
    if path.suffix.lower() == ".html":
        from domino_onnx.report.page import compress_page

        text = compress_page(result)
    else:
        from domino_onnx.report.compressed_document import compress_document
        from domino_onnx.report.documents import dump

        text = dump(compress_document(result)) + "\n"
    write_text(path, text, replacing, what="report")


def write_sweep_report(path: Path, result: SweepResult, replacing: Replacing) -> None:
    """Write the report of a sweep, as HTML or JSON by its suffix; OutputError as `write_text`."""
    if path.suffix.lower() == ".html":
        from domino_onnx.report.page import sweep_page

        text = sweep_page(result)
    else:
        from domino_onnx.report.documents import dump
        from domino_onnx.report.sweep import sweep_document

        text = dump(sweep_document(result)) + "\n"
    write_text(path, text, replacing, what="report")


def write_plans(folder: Path, result: SweepResult, replacing: Replacing) -> None:
    """Write the plan of each trial into a folder that exists; OutputError as `write_text`."""
    for trial in result.trials:
        path = folder / name_of_plan(trial.budget.reduction)
        write_text(path, trial.plan.to_json(), replacing, what="plan")


def write_text(path: Path, text: str, replacing: Replacing, *, what: str) -> None:
    """Write a UTF-8 file; `what` is what messages call it.

    Raises
    ------
    OutputError
        If that can't be done, or the file exists by now and may not be replaced.
    """
    try:
        with folder_lock(path.parent):
            remove_leftovers(path)
            with whole_file(path, replacing, what=what) as stream:
                stream.write(text.encode())
    except OSError as error:
        raise OutputError(f"can't write {path}: {reason_of(error)}") from None

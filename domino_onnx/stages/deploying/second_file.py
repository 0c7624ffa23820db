"""The second file that a run writes where it is asked to: for the CPU, next to the normal one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from domino_onnx.errors import DominoError
from domino_onnx.files import Replacing, check_output, name_beside
from domino_onnx.options import CompressOptions
from domino_onnx.report.results import CompressResult
from domino_onnx.stages.deploying.deploy import deployed
from domino_onnx.stages.journal import Journal

__all__ = ["check_second", "name_for_cpu", "with_second"]


def name_for_cpu(model: Path) -> Path:
    """Where the file for the CPU goes by default."""
    return name_beside(model, "cpu")


def check_second(output: Path, options: CompressOptions, read: tuple[Path, ...], replacing: Replacing) -> None:
    """Refuse a second file that can't be written, before any work is done.

    Raises
    ------
    OutputError
        If its name is taken, or it can't be written there.
    DependencyError
        If the kernels, ONNX Runtime or onnx-graphsurgeon are missing, or the kernels can't be loaded.
    """
    if options.output.deploy is None:
        return
    from domino_onnx.deployment import require_surgeon
    from domino_onnx.runtime import require_kernels

    second = name_for_cpu(output)
    check_output(second, read, replacing)
    require_kernels()
    require_surgeon()


def with_second(result: CompressResult, journal: Journal, replacing: Replacing) -> CompressResult:
    """The result with its second file, where one was asked for; a warning instead of an error: the first is written."""
    if result.options.output.deploy is None:
        return result
    output = name_for_cpu(result.output)
    second = None
    try:
        second = deployed(result.output, output, result.options, "auto", journal, replacing)
    except DominoError as error:
        journal.warn(f"{output} was not written: {error}")
    return dataclasses.replace(
        result,
        deployed=second,
        seconds=journal.seconds,
        took=journal.whole,
        peaks=journal.peaks,
        warnings=journal.warnings,
    )

"""`domino-onnx apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import default_output, observing, present_or_json
from domino_onnx.cli.files import check_report, write_report
from domino_onnx.cli.options import (
    common_options,
    compress_options,
    data_option,
    format_option,
    model_argument,
    output_options,
    precision_options,
    run_options,
    set_up_logging,
    solver_options,
    target_options,
)
from domino_onnx.files import check_output

__all__ = ["command"]


@click.command("apply")
@model_argument
@click.argument("plan", type=click.Path(path_type=Path))
@output_options
@format_option
@precision_options
@data_option
@solver_options
@target_options
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples a run.")
@run_options
@common_options
def command(
    model: Path,
    plan: Path,
    output: Path | None,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **given: Any,
) -> None:
    """Prune MODEL as PLAN says, refit what is left where there are --data, write, and check that it runs.

    \b
    domino-onnx apply model.onnx plan.json --data calibration.npz -o model.sparse.onnx
    """
    from domino_onnx.pipeline import apply
    from domino_onnx.report.document import compress_document
    from domino_onnx.report.terminal import compress_view
    from domino_onnx.scheme import Plan

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    written = output or default_output(model)
    check_output(written, (plan,), force=options.force)
    check_report(report, (model, plan, *options.inputs), force=options.force)
    with observing(quiet) as observer:
        result = apply(model, Plan.load(plan), written, options, observer)
    if report is not None:
        write_report(report, result)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

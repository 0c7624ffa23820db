"""`domino-onnx sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_folder, check_report, write_sweep_report, write_text
from domino_onnx.cli.options import (
    common_options,
    compress_options,
    data_option,
    eval_data_option,
    model_argument,
    run_options,
    search_options,
    selection_options,
    set_up_logging,
    solver_options,
    target_options,
)

__all__ = ["command"]

_SHARES = (0.5, 0.625, 0.75, 0.8125, 0.875, 0.9)


@click.command("sweep")
@model_argument
@click.option(
    "--sparsity",
    "shares",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    default=_SHARES,
    show_default=True,
    metavar="S",
    help="Share of zeros to try; repeatable.",
)
@data_option
@eval_data_option
@click.option("--report", type=click.Path(path_type=Path), help="Also write a report, with a plot: .html or .json.")
@click.option(
    "--plans",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write each plan into this folder, for `domino-onnx apply`.",
)
@click.option("--force", is_flag=True, help="Replace reports and plans that exist.")
@search_options
@solver_options
@target_options
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples a run.")
@selection_options
@run_options
@common_options
def command(
    model: Path,
    shares: tuple[float, ...],
    report: Path | None,
    plans: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **given: Any,
) -> None:
    """Say what MODEL is worth with ever more zeros: a plan for each share, refitted and judged, without finetuning.

    \b
    domino-onnx sweep model.onnx --data calibration.npz --eval-data evaluation.npz --report front.html
    domino-onnx sweep model.onnx --sparsity 0.5 --sparsity 0.6 --data calibration.npz --plans plans
    """
    from domino_onnx.pipeline import sweep
    from domino_onnx.report.document import sweep_document
    from domino_onnx.report.sweep import sweep_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    check_report(report, (model, *options.inputs), force=force)
    if options.data is None:
        raise click.UsageError("what a plan is worth is measured on data: give --data")
    names = {share: f"{share:g}.json" for share in shares}
    if plans is not None:
        check_folder(plans, names.values(), force=force)
    with observing(quiet) as observer:
        result = sweep(model, shares, options, observer)
    if plans is not None:
        for trial in result.trials:
            write_text(plans / names[trial.budget.reduction], trial.plan.to_json())
    if report is not None:
        write_sweep_report(report, result)
    present_or_json(sweep_view(result), sweep_document(result), as_json=as_json, quiet=quiet)

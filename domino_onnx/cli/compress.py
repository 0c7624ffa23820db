"""`domino-onnx compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import default_output, observing, present_or_json
from domino_onnx.cli.files import check_report, write_report
from domino_onnx.cli.options import (
    budget_options,
    common_options,
    compress_options,
    data_option,
    eval_data_option,
    finetuning_options,
    format_option,
    model_argument,
    output_options,
    precision_options,
    run_options,
    search_options,
    selection_options,
    set_up_logging,
    solver_options,
    target_options,
)

__all__ = ["command"]


@click.command("compress")
@model_argument
@output_options
@format_option
@precision_options
@budget_options
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    metavar="D",
    help="Instead of a budget: as many zeros as cost at most this much of top-1 (with labels), agreement, cosine or "
    "relative error, 0.01 for a point; judged by --eval-data or, without, by a quarter of --data.",
)
@click.option("--plan", type=click.Path(path_type=Path), help="Use this plan instead of searching.")
@data_option
@eval_data_option
@search_options
@target_options
@solver_options
@click.option("--finetune/--no-finetune", default=True, show_default=True, help="Finetune after pruning; needs --data.")
@finetuning_options
@selection_options
@run_options
@common_options
def command(
    model: Path,
    output: Path | None,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **given: Any,
) -> None:
    """Prune MODEL to a budget with a scheme of its own for every weight, finetune, write and check it.

    \b
    domino-onnx compress model.onnx --sparsity 0.75 --data calibration.npz
    domino-onnx compress model.onnx --max-drop 0.01 --data calibration.npz --eval-data evaluation.npz
    domino-onnx compress model.onnx --scheme 2:4 --data calibration.npz
    domino-onnx compress model.onnx --flops-reduction 0.5 --data calibration.npz -o small.onnx --report small.html
    """
    from domino_onnx.pipeline import assist, compress, is_assistant
    from domino_onnx.report.document import compress_document
    from domino_onnx.report.terminal import compress_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    check_report(report, (model, *options.inputs), force=options.force)
    if not options.budgets and options.plan is None and options.scheme is None and options.max_drop is None:
        raise click.UsageError(
            "nothing says how sparse the model shall be: give --sparsity, --flops-reduction, --max-drop, --scheme or "
            "--plan"
        )
    if is_assistant():
        if options.finetune and options.data is not None:
            assist(model, options)
        return
    with observing(quiet) as observer:
        result = compress(model, output or default_output(model), options, observer)
    if report is not None:
        write_report(report, result)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

"""`domino-onnx search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import write_text
from domino_onnx.cli.options import (
    budget_options,
    common_options,
    compress_options,
    data_option,
    model_argument,
    run_options,
    search_options,
    selection_options,
    set_up_logging,
    target_options,
)
from domino_onnx.files import check_output

__all__ = ["command"]


@click.command("search")
@model_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="plan.json", show_default=True, help="The plan to write."
)
@click.option("--force", is_flag=True, help="Replace a plan that exists.")
@budget_options
@data_option
@search_options
@target_options
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples a gradient.")
@selection_options
@run_options
@common_options
def command(model: Path, output: Path, force: bool, as_json: bool, quiet: bool, verbose: int, **given: Any) -> None:
    """Choose an N:M scheme for every weight of MODEL, and write them as a plan that can be edited and applied.

    \b
    domino-onnx search model.onnx --sparsity 0.75 -o plan.json
    domino-onnx apply model.onnx plan.json -o model.sparse.onnx
    """
    from domino_onnx.pipeline import search
    from domino_onnx.report.document import search_document
    from domino_onnx.report.terminal import search_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    if not options.budgets and options.scheme is None:
        raise click.UsageError(
            "nothing says how sparse the model shall be: give --sparsity, --flops-reduction or --scheme"
        )
    check_output(output, (model, *options.inputs), force=force, what="plan")
    with observing(quiet) as observer:
        result = search(model, options, observer)
    write_text(output, result.plan.to_json())
    document = {**search_document(result), "plan": str(output)}
    present_or_json(search_view(result), document, as_json=as_json, quiet=quiet)

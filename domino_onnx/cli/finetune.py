"""`domino-onnx finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_report, write_report
from domino_onnx.cli.options import (
    common_options,
    compress_options,
    eval_data_option,
    finetuning_options,
    format_option,
    model_argument,
    output_options,
    precision_options,
    run_options,
    set_up_logging,
)

__all__ = ["command"]


@click.command("finetune")
@model_argument
@click.option("--teacher", type=click.Path(path_type=Path), required=True, help="The dense model that MODEL came from.")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Samples to learn from: .npz, a folder, or images."
)
@eval_data_option
@output_options
@format_option
@precision_options
@finetuning_options
@run_options
@common_options
def command(
    model: Path,
    teacher: Path,
    output: Path | None,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **given: Any,
) -> None:
    """Finetune MODEL, a file that domino-onnx wrote, towards its dense teacher; what is pruned stays pruned.

    \b
    domino-onnx finetune model.sparse.onnx --teacher model.onnx --data calibration.npz -o model.finetuned.onnx
    """
    from domino_onnx.pipeline import assist, finetune, is_assistant
    from domino_onnx.report.document import compress_document
    from domino_onnx.report.terminal import compress_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    check_report(report, (model, teacher, *options.inputs), force=options.force)
    written = output or model.parent / f"{model.stem}.finetuned{model.suffix}"
    if is_assistant():
        assist(model, options, teacher=teacher)
        return
    with observing(quiet) as observer:
        result = finetune(model, teacher, written, options, observer)
    if report is not None:
        write_report(report, result)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

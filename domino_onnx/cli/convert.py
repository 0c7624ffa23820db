"""`domino-onnx convert`."""

from __future__ import annotations

from pathlib import Path

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.options import common_options, model_argument, required_format_option, set_up_logging
from domino_onnx.storage import Form

__all__ = ["command"]


@click.command("convert")
@model_argument
@required_format_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file to write; MODEL.FORMAT.onnx beside MODEL without."
)
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@common_options
def command(
    model: Path,
    form: Form,
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    seed: int,
) -> None:
    """Write MODEL with its weights stored in another form, the same weights bit for bit.

    \b
    domino-onnx convert model.sparse.onnx --format packed -o model.packed.onnx
    domino-onnx convert model.packed.onnx --format dense -o model.dense.onnx
    """
    from domino_onnx.pipeline import convert
    from domino_onnx.report.document import convert_document
    from domino_onnx.report.terminal import convert_view

    set_up_logging(verbose, quiet)
    result = convert(model, output or model.with_name(f"{model.stem}.{form}{model.suffix}"), form, force=force)
    with observing(quiet) as observer:
        for warning in result.warnings:
            observer.warn(warning)
    present_or_json(convert_view(result), convert_document(result), as_json=as_json, quiet=quiet)

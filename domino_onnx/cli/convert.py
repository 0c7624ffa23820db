"""`domino-onnx convert`."""

from __future__ import annotations

from pathlib import Path

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.options import (
    any_format_option,
    common_options,
    model_argument,
    precision_options,
    set_up_logging,
)
from domino_onnx.precision import Conversion, Precision, WeightType
from domino_onnx.storage import Form

__all__ = ["command"]


@click.command("convert")
@model_argument
@any_format_option
@precision_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write; without, MODEL.packed.onnx, MODEL.fp16.onnx or the like beside MODEL.",
)
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@common_options
def command(
    model: Path,
    form: Form | None,
    precision: Precision,
    weights: WeightType,
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    seed: int,
) -> None:
    """Write MODEL with its weights stored in another form, the same weights bit for bit, or in fewer bits.

    \b
    domino-onnx convert model.sparse.onnx --format packed -o model.packed.onnx
    domino-onnx convert model.packed.onnx --format dense -o model.dense.onnx
    domino-onnx convert model.sparse.onnx --precision fp16 -o model.fp16.onnx
    domino-onnx convert model.sparse.onnx --weights int8 --format packed -o model.small.onnx
    """
    from domino_onnx.pipeline import convert
    from domino_onnx.report.document import convert_document
    from domino_onnx.report.terminal import convert_view

    set_up_logging(verbose, quiet)
    wanted = Conversion(precision=precision, weights=weights)
    if form is None and not wanted.is_needed:
        raise click.UsageError("nothing says what to convert to: give --format, --precision or --weights")
    kinds = [kind for kind in (form, precision, weights) if kind not in (None, "keep")]
    written = output or model.with_name(f"{model.stem}.{'.'.join(map(str, kinds))}{model.suffix}")
    result = convert(model, written, form, lowering=wanted, force=force)
    with observing(quiet) as observer:
        for warning in result.warnings:
            observer.warn(warning)
    present_or_json(convert_view(result), convert_document(result), as_json=as_json, quiet=quiet)

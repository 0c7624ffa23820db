"""`domino-onnx convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.fields import given_fields
from domino_onnx.files import name_beside

__all__ = ["command"]


@cloup.command("convert", short_help="Store weights in another form, or in fewer bits.")
@o.model_argument
@o.output_options(
    cloup.option(
        "-o", "--output", type=o.PATH, metavar="FILE", help="File to write. [default: MODEL.packed.onnx etc.]"
    ),
    o.FORMAT_OR_AS_IT_IS,
    o.PRECISION,
    o.WEIGHTS,
    o.FORCE,
)
@o.run_options()
def command(model: Path, output: Path | None, force: bool, as_json: bool, quiet: bool, verbose: int, **_: Any) -> None:
    """Write MODEL with its weights stored in another form, the same weights bit for bit, or in fewer bits.

    \b
    domino-onnx convert model.sparse.onnx --format packed -o model.packed.onnx
    domino-onnx convert model.packed.onnx --format dense -o model.dense.onnx
    domino-onnx convert model.sparse.onnx --precision fp16 -o model.fp16.onnx
    domino-onnx convert model.sparse.onnx --weights int8 --format packed -o model.small.onnx
    """
    from domino_onnx.pipeline import convert
    from domino_onnx.precision import Conversion
    from domino_onnx.report.converted import convert_document, convert_view

    o.begin(verbose, quiet)
    chosen = o.chosen_options().output
    form = chosen.format if "output.format" in given_fields(click.get_current_context()) else None
    wanted = Conversion(precision=chosen.precision, weights=chosen.weights)
    if form is None and not wanted.is_needed:
        raise click.UsageError("nothing says what to convert to: give --format, --precision or --weights")
    kinds = [kind for kind in (form, chosen.precision, chosen.weights) if kind not in (None, "keep")]
    written = output or name_beside(model, ".".join(map(str, kinds)))
    result = convert(model, written, form, conversion=wanted, force=force)
    with observing(quiet) as observer:
        for warning in result.warnings:
            observer.warn(warning)
    present_or_json(convert_view(result), convert_document(result), as_json=as_json, quiet=quiet)

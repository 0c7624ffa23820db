"""`domino-onnx deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json

__all__ = ["command"]


@cloup.command("deploy", short_help="Write a pruned model for the CPU, so that zeros are skipped.")
@o.model_argument
@o.data_options(
    o.data_option("Samples to time layers on, and to judge 8 bits by. Default: random numbers, and no 8 bits in Conv."),
    o.BATCH_AXIS,
    o.SHAPE_TO_TIME,
)
@o.output_options(
    cloup.option("-o", "--output", type=o.PATH, metavar="FILE", help="File to write. [default: MODEL.cpu.onnx]"),
    cloup.option(
        "--precision",
        type=click.Choice(("auto", "float32", "int8")),
        default="auto",
        help="float32: exact up to rounding. int8: 8 bits where that is faster; in Conv only with --data. auto: as "
        "int8 where the outputs on --data stay close; float32 without data. [default: auto]",
    ),
    o.FORCE,
)
@o.run_options(o.THREADS, o.SEED)
def command(
    model: Path, output: Path | None, precision: Any, force: bool, as_json: bool, quiet: bool, verbose: int, **_: Any
) -> None:
    """Write MODEL a second time, with operators that skip its zeros wherever that is faster on this machine.

    \b
    domino-onnx deploy model.sparse.onnx -o model.cpu.onnx
    domino-onnx benchmark model.sparse.onnx model.cpu.onnx
    """
    from domino_onnx.pipeline import deploy
    from domino_onnx.report.speed import deploy_document, deploy_view
    from domino_onnx.stages import name_for_cpu

    o.begin(verbose, quiet)
    written = output or name_for_cpu(model)
    with observing(quiet) as observer:
        result = deploy(model, written, o.chosen_options(has_goal=False), observer, precision=precision, force=force)
    present_or_json(deploy_view(result), deploy_document(result), as_json=as_json, quiet=quiet)

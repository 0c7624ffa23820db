"""`domino-onnx doctor`."""

from __future__ import annotations

from pathlib import Path

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import present_or_json
from domino_onnx.errors import CheckFailed

__all__ = ["command"]


@cloup.command("doctor", short_help="Say which weights TensorRT's sparse kernels can run, and why not.")
@o.model_argument
@cloup.option_group(
    "Question",
    cloup.option(
        "--target",
        type=click.Choice(["tensorrt"]),
        default="tensorrt",
        help="Runtime that is to be fast. [default: tensorrt]",
    ),
    cloup.option(
        "--log",
        type=o.PATH,
        metavar="FILE",
        help="Log of the builder (trtexec --verbose --sparsity=enable), which says what it picked.",
    ),
    cloup.option(
        "--strict",
        is_flag=True,
        help="Exit with 3 if a pruned weight that sparse kernels could run breaks their rule, or if none keeps it.",
    ),
)
@o.run_options()
def command(model: Path, target: str, log: Path | None, strict: bool, as_json: bool, quiet: bool, verbose: int) -> None:
    """Say of every weight of MODEL, pruned by any tool, whether TensorRT's sparse kernels can run it, and why not.

    \b
    domino-onnx doctor model.onnx
    trtexec --onnx=model.onnx --sparsity=enable --verbose > build.log; domino-onnx doctor model.onnx --log build.log
    """
    from domino_onnx.pipeline import doctor
    from domino_onnx.report.doctor import doctor_document, doctor_view

    o.begin(verbose, quiet)
    result = doctor(model, log=log)
    present_or_json(doctor_view(result), doctor_document(result), as_json=as_json, quiet=quiet)
    if strict and not result.passes:
        raise SystemExit(CheckFailed.exit_code)

"""`domino-onnx doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from domino_onnx.cli.console import present_or_json
from domino_onnx.cli.options import common_options, model_argument, set_up_logging
from domino_onnx.errors import CheckFailed

__all__ = ["command"]


@click.command("doctor")
@model_argument
@click.option(
    "--target",
    type=click.Choice(["tensorrt"]),
    default="tensorrt",
    show_default=True,
    help="The runtime that shall be fast.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    help="A log of the builder (trtexec --verbose --sparsity=enable), which says what it really picked.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 3 if a pruned weight that sparse kernels could take breaks their rule, or none is as they want it.",
)
@common_options
def command(
    model: Path, target: str, log: Path | None, strict: bool, as_json: bool, quiet: bool, verbose: int, seed: int
) -> None:
    """Say of every weight of MODEL, whoever pruned it, whether a runtime's sparse kernels can run it, and why not.

    \b
    domino-onnx doctor model.onnx
    trtexec --onnx=model.onnx --sparsity=enable --verbose > build.log; domino-onnx doctor model.onnx --log build.log
    """
    from domino_onnx.pipeline import doctor
    from domino_onnx.report.doctor import doctor_document, doctor_view

    set_up_logging(verbose, quiet)
    result = doctor(model, log=log)
    present_or_json(doctor_view(result), doctor_document(result), as_json=as_json, quiet=quiet)
    if strict and not result.passes:
        raise SystemExit(CheckFailed.exit_code)

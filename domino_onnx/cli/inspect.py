"""`domino-onnx inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import present_or_json
from domino_onnx.cli.options import (
    common_options,
    compress_options,
    data_option,
    model_argument,
    selection_options,
    set_up_logging,
    threads_option,
)

__all__ = ["command"]


@click.command("inspect")
@model_argument
@click.option(
    "--bridge",
    is_flag=True,
    help="Also say whether MODEL can be finetuned: whether torch has its operators, reproduces ONNX Runtime on the "
    "first of --data or on random inputs, and gives each site a gradient.",
)
@data_option
@selection_options
@threads_option
@common_options
def command(
    model: Path,
    bridge: bool,
    data: Path | None,
    threads: int,
    as_json: bool,
    quiet: bool,
    verbose: int,
    seed: int,
    **given: Any,
) -> None:
    """List what can be pruned in MODEL, what can't and why, with shapes, MACs and the sparsity that is there already.

    \b
    domino-onnx inspect model.onnx
    domino-onnx inspect model.onnx --input-shape input:1,3,224,224 --json
    domino-onnx inspect model.onnx --bridge --data calibration.npz
    """
    from domino_onnx.pipeline import inspect
    from domino_onnx.report.document import inspect_document
    from domino_onnx.report.terminal import inspect_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    result = inspect(
        model,
        pool=options.pool,
        selection=options.selection,
        input_shapes=options.input_shapes,
        data=data,
        bridge=bridge,
        seed=seed,
        threads=threads,
    )
    present_or_json(inspect_view(result), inspect_document(result), as_json=as_json, quiet=quiet)

"""`domino-onnx inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from domino_onnx.cli.console import present_or_json
from domino_onnx.cli.options import common_options, compress_options, model_argument, selection_options, set_up_logging

__all__ = ["command"]


@click.command("inspect")
@model_argument
@selection_options
@common_options
def command(model: Path, as_json: bool, quiet: bool, verbose: int, seed: int, **given: Any) -> None:
    """List what can be pruned in MODEL, what can't and why, with shapes, MACs and the sparsity that is there already.

    \b
    domino-onnx inspect model.onnx
    domino-onnx inspect model.onnx --input-shape input:1,3,224,224 --json
    """
    from domino_onnx.pipeline import inspect
    from domino_onnx.report.document import inspect_document
    from domino_onnx.report.terminal import inspect_view

    set_up_logging(verbose, quiet)
    options = compress_options(**given)
    result = inspect(model, pool=options.pool, selection=options.selection, input_shapes=options.input_shapes)
    present_or_json(inspect_view(result), inspect_document(result), as_json=as_json, quiet=quiet)

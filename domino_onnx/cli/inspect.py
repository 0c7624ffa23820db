"""`domino-onnx inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import present_or_json

__all__ = ["command"]


@cloup.command("inspect", short_help="List what can be pruned, and what cannot, and why.")
@o.model_argument
@cloup.option_group(
    "Question",
    cloup.option(
        "--bridge",
        is_flag=True,
        help="Also say whether MODEL can be finetuned: torch has its operators, reproduces ONNX Runtime, and gives "
        "each site a gradient.",
    ),
)
@o.data_options(
    o.data_option(
        "Samples that tell shapes, and that --bridge compares on. Default: declared shapes, and random numbers."
    ),
    o.BATCH_AXIS,
    o.INPUT_SHAPE,
)
@o.target_options(o.INCLUDE, o.EXCLUDE, o.POOL)
@o.run_options(o.THREADS, o.SEED)
def command(model: Path, bridge: bool, as_json: bool, quiet: bool, verbose: int, **_: Any) -> None:
    """List what can be pruned in MODEL, what can't and why, with shapes, MACs and the zeros that are there already.

    \b
    domino-onnx inspect model.onnx
    domino-onnx inspect model.onnx --input-shape input:1,3,224,224 --json
    domino-onnx inspect model.onnx --bridge --data calibration.npz
    """
    from domino_onnx.pipeline import inspect
    from domino_onnx.report.inspected import inspect_document, inspect_view

    o.begin(verbose, quiet)
    result = inspect(model, o.chosen_options(), bridge=bridge)
    present_or_json(inspect_view(result), inspect_document(result), as_json=as_json, quiet=quiet)

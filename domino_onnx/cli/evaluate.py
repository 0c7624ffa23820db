"""`domino-onnx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json

__all__ = ["command"]


@cloup.command("evaluate", short_help="Compare two models on your data.")
@cloup.argument("reference", type=o.PATH)
@cloup.argument("candidate", type=o.PATH)
@o.data_options(
    cloup.option(
        "--data", type=o.PATH, metavar="PATH", required=True, help="Samples; with `labels` they give the top-1."
    ),
    o.METRIC,
    o.OUTPUT_KIND,
    o.BATCH_AXIS,
)
@o.run_options(o.BATCH_SIZE, o.DEVICE, o.THREADS)
def command(reference: Path, candidate: Path, data: Path, as_json: bool, quiet: bool, verbose: int, **_: Any) -> None:
    """Compare the outputs of CANDIDATE with those of REFERENCE, in ONNX Runtime on your samples.

    \b
    domino-onnx evaluate model.onnx model.sparse.onnx --data evaluation.npz
    """
    from domino_onnx.pipeline import evaluate
    from domino_onnx.report.compared import evaluate_document, evaluation_view

    o.begin(verbose, quiet)
    with observing(quiet) as observer:
        evaluation = evaluate(reference, candidate, data, o.chosen_options(), observer)
    document = {"reference": str(reference), "candidate": str(candidate), **evaluate_document(evaluation)}
    present_or_json(evaluation_view(evaluation), document, as_json=as_json, quiet=quiet)

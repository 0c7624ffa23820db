"""`domino-onnx benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.fields import field_option, given_timing

__all__ = ["command"]


@cloup.command("benchmark", short_help="Time models side by side in ONNX Runtime on the CPU.")
@cloup.argument("models", type=o.PATH, nargs=-1, required=True)
@o.data_options(
    o.data_option("Samples to time the models on. Default: random numbers."),
    o.BATCH_AXIS,
    o.SHAPE_TO_TIME,
)
@o.run_options(
    field_option("timing.threads", "--threads", metavar="T"),
    field_option("timing.batch_sizes", "--batch-size", metavar="B"),
    field_option("timing.seconds", "--seconds", metavar="S"),
    field_option("timing.profile", "--profile"),
    o.SEED,
)
def command(
    models: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Time MODELS on the same inputs, in turns, so that other work on the machine hits all of them alike.

    \b
    domino-onnx benchmark model.onnx model.sparse.onnx model.cpu.onnx --threads 1 --threads 2
    """
    from domino_onnx.pipeline import benchmark
    from domino_onnx.report.speed import benchmark_document, benchmark_view

    o.begin(verbose, quiet)
    chosen = o.chosen_options(has_goal=False)
    with observing(quiet) as observer:
        result = benchmark(models, chosen, observer, timing=given_timing(click.get_current_context()))
    present_or_json(benchmark_view(result), benchmark_document(result), as_json=as_json, quiet=quiet)

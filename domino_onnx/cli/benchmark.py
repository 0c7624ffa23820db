"""`domino-onnx benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json

__all__ = ["command"]


@cloup.command("benchmark", short_help="Time models side by side in ONNX Runtime on the CPU.")
@cloup.argument("models", type=o.PATH, nargs=-1, required=True)
@o.data_options(
    o.data_option("Samples to time the models on. Default: random numbers."),
    o.BATCH_AXIS,
    o.SHAPE_TO_TIME,
)
@o.run_options(
    cloup.option(
        "--threads",
        type=click.IntRange(0),
        multiple=True,
        default=(1,),
        metavar="T",
        help="Threads of ONNX Runtime; 0 lets it choose. Give it again for more rows. [default: 1]",
    ),
    cloup.option(
        "--batch-size",
        "batches",
        type=click.IntRange(1),
        multiple=True,
        default=(1,),
        metavar="B",
        help="Samples in a run. Give it again for more rows. [default: 1]",
    ),
    cloup.option(
        "--seconds",
        type=click.FloatRange(0, min_open=True),
        default=5.0,
        metavar="S",
        help="How long all models together are timed, for each row of the table. [default: 5]",
    ),
    cloup.option(
        "--profile",
        is_flag=True,
        help="Also tell what each operator takes and how much memory, in a process by itself.",
    ),
    o.SEED,
)
def command(
    models: tuple[Path, ...],
    threads: tuple[int, ...],
    batches: tuple[int, ...],
    seconds: float,
    profile: bool,
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
        result = benchmark(models, chosen, observer, threads=threads, batches=batches, seconds=seconds, profile=profile)
    present_or_json(benchmark_view(result), benchmark_document(result), as_json=as_json, quiet=quiet)

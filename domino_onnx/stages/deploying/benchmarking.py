"""The stage that times files side by side."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from domino_onnx.errors import ModelError
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions, TimingOptions
from domino_onnx.plurals import quantity
from domino_onnx.report.results import BenchmarkResult, BenchmarkRow
from domino_onnx.report.speed import on_threads
from domino_onnx.stages.deploying.sampling import RunToTime, run_to_time
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.runtime import ChildSession

__all__ = ["benchmarked"]

Arrays = Mapping[str, NDArray[Any]]


def benchmarked(
    models: Sequence[Path], options: CompressOptions, timing: TimingOptions, journal: Journal
) -> BenchmarkResult:
    """Time all models on the same inputs, in turns, for each number of threads and each batch.

    Raises
    ------
    ModelError
        If a model can't be read or run, or takes other inputs than the first.
    DataError
        If the data don't fit the first model, or inputs can't be made up.
    DependencyError
        If ONNX Runtime is missing.
    """
    first, *_ = map(read_model, models)  # a file that isn't a model is an error before any work
    rows: list[BenchmarkRow] = []
    done, total = 0, len(timing.threads) * len(timing.batch_sizes)
    with journal.stage("benchmark"):
        for batch in timing.batch_sizes:
            run = run_to_time(first, options, journal, batch=batch)
            if run.samples < batch:
                told = f"a run has {quantity(run.samples, 'sample')} in place of {batch}"
                journal.warn(f"{told}, as the model, --data or --input-shape says")
            for count in timing.threads:
                journal.progress(done, total, f"{on_threads(count)}, batch {run.samples}")
                rows += _in_turns(models, run, count, timing)
                done += 1
    return BenchmarkResult(rows=tuple(rows), warnings=journal.warnings)


def _in_turns(models: Sequence[Path], run: RunToTime, threads: int, timing: TimingOptions) -> list[BenchmarkRow]:
    """A row a model, all of them run in turns."""
    from domino_onnx.deployment import measure
    from domino_onnx.runtime import ChildSession, Session, profiled

    sessions, loads = [], []
    for path in models:
        with ChildSession(path, threads=threads) as tried:
            _require_run(tried, run.inputs, models[0])
        start = time.perf_counter()
        sessions.append(Session(path, device="cpu", threads=threads, timed=True))
        loads.append(time.perf_counter() - start)
    taken = measure([functools.partial(each.run, run.inputs) for each in sessions], timing.seconds)
    return [
        BenchmarkRow(
            model=path,
            threads=threads,
            batch=run.samples,
            median=each.median,
            low=each.low,
            high=each.high,
            rounds=each.rounds,
            load=load,
            speedup=taken[0].median / each.median,
            profile=profiled(path, run.inputs, threads) if timing.profile else None,
        )
        for path, each, load in zip(models, taken, loads, strict=True)
    ]


def _require_run(session: ChildSession, inputs: Arrays, first: Path) -> None:
    """Run a model once where it can do no harm, before it is timed in this process."""
    try:
        session.run(inputs)
    except ModelError as error:
        raise ModelError(f"{error}; all models must take the inputs of {first}") from None

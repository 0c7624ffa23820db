"""What can be said of files, and how they are rewritten without any pruning: its stages in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import OptionError
from domino_onnx.files import Replacing, check_output
from domino_onnx.options import CompressOptions, TimingOptions
from domino_onnx.precision import KEEP, Conversion
from domino_onnx.report.results import (
    BenchmarkResult,
    ConvertResult,
    DeployPrecision,
    DeployResult,
    DoctorResult,
    InspectResult,
)
from domino_onnx.stages import (
    Journal,
    Observer,
    benchmarked,
    deployed,
    diagnosed,
    evaluated,
    idle_to_look,
    idle_to_time,
    inspected,
    read,
    rewritten,
    verified,
)
from domino_onnx.storage import Form

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from domino_onnx.evaluate import Evaluation, Metric, Verdict

__all__ = ["benchmark", "convert", "deploy", "doctor", "evaluate", "inspect", "session", "verify"]


def inspect(model: Path, options: CompressOptions | None = None, *, bridge: bool = False) -> InspectResult:
    """List the weights that can be pruned, and the others with the reasons.

    `bridge` also finds out whether the model can be finetuned. Only then torch is imported.
    """
    chosen = options or CompressOptions()
    if chosen.data.batch_axes and chosen.data.path is None:
        raise OptionError("--batch-axis says which axis of your samples counts them: give --data as well")
    for said in idle_to_look(chosen):
        raise OptionError(f"{said}: leave one of the two out")
    return inspected(read(model, chosen, Journal(), "look"), chosen.run, bridge=bridge)


def evaluate(
    reference: Path,
    candidate: Path,
    data: Path,
    options: CompressOptions | None = None,
    observer: Observer | None = None,
    *,
    metric: Metric | None = None,
) -> Evaluation:
    """Compare two models with the same inputs and outputs in ONNX Runtime.

    Of the options, those of the run, the metric and the outputs' kinds are looked at. `metric` is that of `compress`.
    """
    return evaluated(reference, candidate, data, options or CompressOptions(), Journal(observer), metric)


def verify(model: Path) -> Verdict:
    """Check a file against its own manifest."""
    return verified(model)


def doctor(model: Path, *, log: Path | None = None) -> DoctorResult:
    """Say of every weight of any ONNX file whether TensorRT's sparse kernels can run it, and why not.

    `log` is a log of TensorRT's builder, which tells what it picked.
    """
    return diagnosed(model, log)


def convert(
    model: Path, output: Path, form: Form | None = None, *, conversion: Conversion = KEEP, force: bool = False
) -> ConvertResult:
    """Write any ONNX file with its weights in another form or precision. `form` None keeps the form."""
    replacing = Replacing(force=force)
    check_output(output, (model,), replacing)
    return rewritten(model, output, form, conversion, replacing)


def deploy(
    model: Path,
    output: Path,
    options: CompressOptions | None = None,
    observer: Observer | None = None,
    *,
    precision: DeployPrecision = "auto",
    force: bool = False,
) -> DeployResult:
    """Write a pruned model for the CPU, with operators that skip zeros wherever that is faster on this machine.

    Of the options, `data` has the inputs that layers are timed on, and `run` the threads and the seed.
    """
    replacing, chosen = Replacing(force=force), options or CompressOptions()
    check_output(output, (model,), replacing)
    journal = Journal(observer)
    for said in idle_to_time(chosen, batches=False):
        journal.warn(said)
    return deployed(model, output, chosen, precision, journal, replacing)


def benchmark(
    models: Sequence[Path],
    options: CompressOptions | None = None,
    observer: Observer | None = None,
    *,
    timing: TimingOptions | None = None,
) -> BenchmarkResult:
    """Time models side by side in ONNX Runtime on the CPU, in turns, deployed ones among them.

    Parameters
    ----------
    timing
        Of each number of threads and each batch there is a row a model.
    """
    journal, chosen, timed = Journal(observer), options or CompressOptions(), timing or TimingOptions()
    for said in idle_to_time(chosen, batches=any(batch > 1 for batch in timed.batch_sizes)):
        journal.warn(said)
    return benchmarked(models, chosen, timed, journal)


def session(path: Path | str, threads: int = 1) -> InferenceSession:
    """An ONNX Runtime session on the CPU that runs deployed files: the operators are registered.

    Parameters
    ----------
    threads
        Within an operator; 0 takes all cores.

    Raises
    ------
    DependencyError
        If ONNX Runtime is missing, or a deployed file needs domino-onnx-kernels, which is missing or can't be loaded.
    ModelError
        If ONNX Runtime refuses the model.
    """
    from domino_onnx.runtime import open_session

    return open_session(path, threads)

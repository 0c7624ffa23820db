"""The functions that look at models, and those that write them in another form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, Unpack

from domino_onnx import pipeline
from domino_onnx.api.call import Call
from domino_onnx.api.findings import BenchmarkResult, DoctorResult, EvaluateResult, InspectResult, VerifyResult
from domino_onnx.api.keywords import (
    BenchmarkKeywords,
    DeployKeywords,
    EvaluateKeywords,
    InspectKeywords,
    PathLike,
    Samples,
)
from domino_onnx.api.models import Model
from domino_onnx.api.options import chosen_options, path_of, timing_options
from domino_onnx.api.progress import ProgressFunction
from domino_onnx.api.written import ConvertResult, DeployResult
from domino_onnx.errors import OptionError
from domino_onnx.options import CompressOptions, Precision, WeightType
from domino_onnx.precision import Conversion
from domino_onnx.report.results import DeployPrecision
from domino_onnx.stages import Observer
from domino_onnx.storage import Form

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["benchmark", "convert", "deploy", "doctor", "evaluate", "inspect", "session", "verify"]


class _Nothing(TypedDict):
    """Of functions whose keywords are all named."""


def inspect(model: Model, *, bridge: bool = False, **options: Unpack[InspectKeywords]) -> InspectResult:
    """List the weights that can be pruned, and the others with the reasons.

    Parameters
    ----------
    bridge
        Also find out whether the model can be finetuned. Only then torch is imported.
    options
        `data` or `input_shapes` tell the shapes that MACs hang on; `include`, `exclude` and `pool` are those of
        `compress`.
    """
    with Call("inspect", options, InspectKeywords) as call:
        path = call.model(model)
        return InspectResult(pipeline.inspect(path, call.options(path), bridge=bridge), call.places)


def evaluate(
    reference: Model,
    candidate: Model,
    data: Samples,
    *,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[EvaluateKeywords],
) -> EvaluateResult:
    """Compare two models with the same inputs and outputs in ONNX Runtime.

    Parameters
    ----------
    data
        As `compress` takes it; with labels it gives the top-1.
    """
    with Call("evaluate", options, EvaluateKeywords, progress, observer) as call:
        first, second = call.model(reference, "reference"), call.model(candidate, "candidate")
        chosen = call.options(first)
        samples = call.samples(data, "data", first, chosen.data.batch_axes)
        if samples is None:
            raise OptionError("'data' is None; evaluate() compares models on samples")
        found = pipeline.evaluate(first, second, samples, chosen, call.observer, metric=call.metric)
        return EvaluateResult(found, call.places)


def verify(model: Model) -> VerifyResult:
    """Check a model against its own manifest."""
    with Call("verify", {}, _Nothing) as call:
        return VerifyResult(pipeline.verify(call.model(model)), call.places)


def doctor(model: Model, *, log: PathLike | None = None) -> DoctorResult:
    """Say of every weight of any model whether TensorRT's sparse kernels can run it, and why not.

    Parameters
    ----------
    log
        A log of TensorRT's builder, which tells what it picked.
    """
    with Call("doctor", {}, _Nothing) as call:
        file = None if log is None else path_of("doctor", "log", log)
        return DoctorResult(pipeline.doctor(call.model(model), log=file), call.places)


def convert(
    model: Model,
    *,
    format: Form | None = None,  # noqa: A002
    precision: Precision = "keep",
    weights: WeightType = "keep",
) -> ConvertResult:
    """Store the weights of any model in another form, the same bit for bit, or in fewer bits.

    Parameters
    ----------
    format
        ``"packed"`` leaves zeros out, ``"dense"`` puts them back. None keeps the form.
    precision
        ``"fp16"`` computes in half precision.
    weights
        ``"int8"`` stores integers, and a scale for each output channel.
    """
    with Call("convert", {}, _Nothing) as call:
        path = call.model(model)
        wanted = Conversion(precision=precision, weights=weights)
        found = pipeline.convert(path, call.output("model.converted.onnx"), format, conversion=wanted)
        return ConvertResult(found, call.places, call.inputs)


def deploy(
    model: Model,
    *,
    precision: DeployPrecision = "auto",
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[DeployKeywords],
) -> DeployResult:
    """Write a pruned model for the CPU, with operators that skip zeros wherever that is faster on this machine.

    Parameters
    ----------
    precision
        ``"float32"`` is exact up to rounding. ``"int8"`` takes 8 bits where faster, of convolutions with `data`.
        ``"auto"`` takes them where the outputs on `data` stay close, too.
    options
        `data` or `input_shapes` give the inputs that layers are timed on; `batch_axes` is that of `compress`; `threads`
        are those to time with.
    """
    with Call("deploy", options, DeployKeywords, progress, observer) as call:
        path = call.model(model)
        output = call.output("model.cpu.onnx")
        found = pipeline.deploy(path, output, call.options(path), call.observer, precision=precision)
        return DeployResult(found, call.places, call.inputs)


def benchmark(
    *models: Model,
    threads: int | Sequence[int] = (1,),
    batch_sizes: int | Sequence[int] = (1,),
    seconds: float = 5.0,
    profile: bool = False,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[BenchmarkKeywords],
) -> BenchmarkResult:
    """Time models side by side in ONNX Runtime on the CPU, in turns, deployed ones among them.

    Parameters
    ----------
    threads, batch_sizes
        One number, or several: there is a row of the table for each. 0 threads mean as many as ONNX Runtime likes.
    seconds
        For each row, all models together.
    profile
        Also tell what each operator takes and how much memory, in a process by itself.
    options
        `data` or `input_shapes` give the inputs, else random ones; `batch_axes` is that of `compress`; `seed` is that
        of random inputs.
    """
    timing = {"threads": threads, "batch_sizes": batch_sizes, "seconds": seconds, "profile": profile}
    with Call("benchmark", options, BenchmarkKeywords, progress, observer) as call:
        paths = [call.model(model, f"model {number}") for number, model in enumerate(models, 1)]
        chosen = call.options(paths[0]) if paths else CompressOptions()
        if not paths:
            raise OptionError("benchmark() needs a model at least")
        found = pipeline.benchmark(paths, chosen, call.observer, timing=timing_options("benchmark", timing))
        return BenchmarkResult(found, call.places)


def session(model: Model, threads: int = 1) -> InferenceSession:
    """A session of ONNX Runtime on the CPU that runs deployed models too: their operators are registered.

    Parameters
    ----------
    threads
        Within an operator; 0 takes all cores.

    Raises
    ------
    OptionError
        If `threads` is no whole number, or below 0.
    DependencyError
        If ONNX Runtime is missing, or a deployed file needs domino-onnx-kernels, which is missing or can't be loaded.
    ModelError
        If ONNX Runtime refuses the model.
    """
    with Call("session", {}, _Nothing) as call:
        count = chosen_options("session", {"threads": threads}, None).run.threads
        return pipeline.session(call.model(model), count)

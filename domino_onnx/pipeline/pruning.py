"""What can be done with a model, each thing one function: its stages in order.

All functions raise errors of :mod:`domino_onnx.errors`. The stages say which, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.files import Replacing, check_output
from domino_onnx.options import CompressOptions
from domino_onnx.precision import KEEP, Conversion
from domino_onnx.report.results import (
    BenchmarkResult,
    CompressResult,
    ConvertResult,
    DeployPrecision,
    DeployResult,
    DoctorResult,
    InspectResult,
    SearchResult,
    SweepResult,
)
from domino_onnx.scheme import Plan
from domino_onnx.stages import (
    Checkpoint,
    Journal,
    Made,
    Observer,
    Output,
    benchmarked,
    check_second,
    compared,
    deployed,
    diagnosed,
    evaluated,
    find,
    finetune_file,
    finetune_within,
    found_for_budgets,
    found_once,
    given_plan,
    help_finetuning,
    identity,
    inspected,
    name_of_sweep,
    open_checkpoint,
    open_laboratory,
    open_pruned,
    preflight,
    read,
    replacing_of,
    require_devices,
    rewritten,
    search_result,
    sweep_result,
    verified,
    with_second,
    write,
    write_plans,
    write_report,
    write_sweep_report,
)
from domino_onnx.storage import Form

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from domino_onnx.evaluate import Evaluation, Metric, Verdict
    from domino_onnx.finetuning import Finetuned
    from domino_onnx.stages.choosing import Found
    from domino_onnx.stages.laboratory import Laboratory

__all__ = [
    "apply",
    "assist",
    "benchmark",
    "compress",
    "convert",
    "deploy",
    "doctor",
    "evaluate",
    "finetune",
    "inspect",
    "search",
    "session",
    "sweep",
    "verify",
]


def compress(
    model: Path,
    output: Path,
    options: CompressOptions,
    observer: Observer | None = None,
    *,
    force: bool = False,
    metric: Metric | None = None,
    keeps: bool = True,
    report: Path | None = None,
) -> CompressResult:
    """Choose schemes, prune, refit, finetune, write `output`, and compare it with `model` in ONNX Runtime.

    Parameters
    ----------
    metric
        Judges instead of the one that the options name.
    keeps
        Whether what is found is kept next to `output` meanwhile. A folder that the options name is used anyway.
    report
        A file for the report, as HTML or JSON by its suffix; `force` is for it as well.
    """
    journal, place = Journal(observer), output if keeps else None
    with open_checkpoint(options, place, journal) as checkpoint:
        replacing = replacing_of(options, place, force=force, checkpoint=checkpoint)
        check_second(output, options, (model,), replacing)
        made = _compressed(model, Output(path=output, replacing=replacing), options, journal, checkpoint, metric)
        return _finished(made, journal, replacing, report)


def search(
    model: Path, options: CompressOptions, observer: Observer | None = None, *, metric: Metric | None = None
) -> SearchResult:
    """Choose the scheme of every site within the goal's budgets, and write nothing."""
    journal = Journal(observer)
    plan = given_plan(options)
    lab = open_laboratory(read(model, options, journal, plan=plan, metric=metric), options, journal, plan)
    preflight(lab, "search")
    return search_result(lab, found_for_budgets(lab))


def sweep(
    model: Path,
    shares: Sequence[float],
    options: CompressOptions,
    observer: Observer | None = None,
    *,
    force: bool = False,
    metric: Metric | None = None,
    keeps: bool = True,
    report: Path | None = None,
    plans: Path | None = None,
) -> SweepResult:
    """Measure a refitted plan for each share of zeros on unseen data. The shares replace the options' goal.

    What is found is kept next to the report, the plans or the model meanwhile (`name_of_sweep`).

    Parameters
    ----------
    force, metric, keeps, report
        As in `compress`.
    plans
        A folder that exists, for the plan of each share.
    """
    journal, options = Journal(observer), options.without_goal()
    place = name_of_sweep(model, report, plans) if keeps else None
    with open_checkpoint(options, place, journal) as checkpoint:
        replacing = replacing_of(options, place, force=force, checkpoint=checkpoint)
        source = read(model, options, journal, judged=True, metric=metric)
        lab = open_laboratory(source, options, journal, checkpoint=checkpoint)
        checkpoint.is_of(identity(lab, "sweep"))
        preflight(lab, "sweep", plans=len(set(shares)))
        result = sweep_result(lab, shares)
        if plans is not None:
            write_plans(plans, result, replacing)
        if report is not None:
            write_sweep_report(report, result, replacing)
        return result


def apply(
    model: Path,
    plan: Plan,
    output: Path,
    options: CompressOptions,
    observer: Observer | None = None,
    *,
    force: bool = False,
    metric: Metric | None = None,
    keeps: bool = True,
    report: Path | None = None,
) -> CompressResult:
    """Prune `model` as `plan` says, without search or finetuning; refitted where there are data.

    `metric`, `keeps` and `report` are those of `compress`.
    """
    journal, options, place = Journal(observer), options.without_goal(), output if keeps else None
    with open_checkpoint(options, place, journal) as checkpoint:
        replacing = replacing_of(options, place, force=force, checkpoint=checkpoint)
        check_second(output, options, (model,), replacing)
        made = _applied(model, plan, Output(path=output, replacing=replacing), options, journal, checkpoint, metric)
        return _finished(made, journal, replacing, report)


def finetune(
    model: Path,
    teacher: Path,
    output: Path,
    options: CompressOptions,
    observer: Observer | None = None,
    *,
    force: bool = False,
    metric: Metric | None = None,
    keeps: bool = True,
    report: Path | None = None,
) -> CompressResult:
    """Finetune a file that domino-onnx wrote: zeros stay zeros, `teacher` is the dense model.

    `metric`, `keeps` and `report` are those of `compress`.
    """
    journal, options, place = Journal(observer), options.without_goal(), output if keeps else None
    with open_checkpoint(options, place, journal) as checkpoint:
        replacing = replacing_of(options, place, force=force, checkpoint=checkpoint)
        check_second(output, options, (model, teacher), replacing)
        made = _finetuned(
            model, teacher, Output(path=output, replacing=replacing), options, journal, checkpoint, metric
        )
        return _finished(made, journal, replacing, report)


def assist(model: Path, options: CompressOptions, *, teacher: Path | None = None) -> None:
    """Help another process of torch's launcher to finetune: take a share of each batch, and write nothing."""
    options = options if teacher is None else options.without_goal()
    plan = given_plan(options)
    source = read(model, options, Journal(), judged=options.goal.max_drop is not None, plan=plan)
    if teacher is None:
        lab = open_laboratory(source, options, Journal(), plan)
    else:
        lab = open_pruned(source, options, Journal(), teacher)
    help_finetuning(lab)


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

    Of the options, `data.calibration` and `data.input_shapes` give the inputs that layers are timed on, and `run` the
    threads and the seed.
    """
    replacing = Replacing(force=force)
    check_output(output, (model,), replacing)
    return deployed(model, output, options or CompressOptions(), precision, Journal(observer), replacing)


def benchmark(
    models: Sequence[Path],
    options: CompressOptions | None = None,
    observer: Observer | None = None,
    *,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    seconds: float = 5.0,
    profile: bool = False,
) -> BenchmarkResult:
    """Time models side by side in ONNX Runtime on the CPU, in turns, deployed ones among them.

    Parameters
    ----------
    threads
        One table of rows for each; 0 takes as many as ONNX Runtime likes.
    batches
        Samples in a run, where the first axis is free.
    seconds
        For each number of threads and batch, all models together.
    profile
        Whether to tell what each operator takes, and how much memory the model.
    """
    journal = Journal(observer)
    return benchmarked(models, options or CompressOptions(), threads, batches, seconds, journal, profile=profile)


def session(path: Path | str, threads: int = 1) -> InferenceSession:
    """An ONNX Runtime session on the CPU that runs deployed files: the operators are registered.

    Parameters
    ----------
    threads
        Within an operator; 0 takes all cores.

    Raises
    ------
    DependencyError
        If ONNX Runtime or domino-onnx-kernels is missing.
    ModelError
        If ONNX Runtime refuses the model.
    """
    from domino_onnx.runtime import open_session

    return open_session(path, threads)


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


def inspect(model: Path, options: CompressOptions | None = None, *, bridge: bool = False) -> InspectResult:
    """List the weights that can be pruned, and the others with the reasons.

    `bridge` also finds out whether the model can be finetuned. Only then torch is imported.
    """
    chosen = options or CompressOptions()
    return inspected(read(model, chosen, Journal(), draws=False), chosen.run, bridge=bridge)


def doctor(model: Path, *, log: Path | None = None) -> DoctorResult:
    """Say of every weight of any ONNX file whether TensorRT's sparse kernels can run it, and why not.

    `log` is a log of TensorRT's builder, which tells what it picked.
    """
    return diagnosed(model, log)


def verify(model: Path) -> Verdict:
    """Check a file against its own manifest."""
    return verified(model)


def _compressed(
    model: Path,
    output: Output,
    options: CompressOptions,
    journal: Journal,
    checkpoint: Checkpoint,
    metric: Metric | None,
) -> Made:
    """The model leaves memory with this function. ONNX Runtime needs the room when it compares."""
    require_devices(options, trains=True)
    plan = given_plan(options)
    judged = options.goal.max_drop is not None
    source = read(model, options, journal, output=output, judged=judged, plan=plan, metric=metric)
    lab = open_laboratory(source, options, journal, plan, checkpoint=checkpoint)
    checkpoint.is_of(identity(lab, "compress"))
    preflight(lab, "compress", output=output.path)
    found = found_once(lab)
    return _written(lab, found, output, finetune_within(lab, found))


def _applied(
    model: Path,
    plan: Plan,
    output: Output,
    options: CompressOptions,
    journal: Journal,
    checkpoint: Checkpoint,
    metric: Metric | None,
) -> Made:
    source = read(model, options, journal, output=output, plan=plan, metric=metric)
    lab = open_laboratory(source, options, journal, plan, checkpoint=checkpoint)
    checkpoint.is_of(identity(lab, "apply"))
    preflight(lab, "apply", output=output.path)
    return _written(lab, find(lab, ()), output, None)


def _finetuned(
    model: Path,
    teacher: Path,
    output: Output,
    options: CompressOptions,
    journal: Journal,
    checkpoint: Checkpoint,
    metric: Metric | None,
) -> Made:
    require_devices(options, trains=True)
    source = read(model, options, journal, output=output, also=(teacher,), metric=metric, fits=False)
    lab = open_pruned(source, options, journal, teacher, checkpoint)
    preflight(lab, "finetune", output=output.path)
    found, finetuned = finetune_file(lab)
    return _written(lab, found, output, finetuned)


def _written(lab: Laboratory, found: Found, output: Output, finetuned: Finetuned | None) -> Made:
    """What is kept leads to the model, and writing uses that up."""
    lab.checkpoint.settle()
    return write(lab, found, output, finetuned)


def _finished(made: Made, journal: Journal, replacing: Replacing, report: Path | None) -> CompressResult:
    """The result, with the other files that were asked for. Until they are all in place, what was found is kept."""
    result = with_second(compared(made, journal), journal, replacing)
    if report is not None:
        write_report(report, result, replacing)
    return result

"""What can be done with a model, each thing one function: the stages of a `Run` in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import BudgetError, DataError, ModelError, PlanError
from domino_onnx.files import check_output
from domino_onnx.graph import (
    OnnxFile,
    Selection,
    read_manifest,
    read_model,
    stored_tensors,
    take_inventory,
    write_model,
)
from domino_onnx.precision import KEEP, Lowered, Lowering, check_lowering, lower
from domino_onnx.report.results import (
    CompressResult,
    ConvertResult,
    DoctorResult,
    InspectResult,
    SearchResult,
    SweepResult,
    Trial,
)
from domino_onnx.scheme import Budget, FrozenMapping, Plan, SchemePool, WeightKey
from domino_onnx.stages import (
    CompressOptions,
    Observer,
    Planned,
    Run,
    Solved,
    Solver,
    Strategy,
    Trials,
    choose,
    finish,
    fitted,
    is_assistant,
    open_checkpoint,
    permute,
    recover_if_possible,
    shapes_seen,
    solve,
    solved_once,
    torch_missing,
    why_dense,
)
from domino_onnx.stages import assist as help_finetuning
from domino_onnx.stages import recover as finetune
from domino_onnx.storage import Form
from domino_onnx.targets import BuildLog, diagnose, read_build_log

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness
    from domino_onnx.data import Dataset
    from domino_onnx.evaluate import Evaluation, Verdict
    from domino_onnx.runtime import Device

__all__ = [
    "CompressOptions",
    "Observer",
    "Solver",
    "Strategy",
    "apply",
    "assist",
    "compress",
    "convert",
    "doctor",
    "evaluate",
    "inspect",
    "is_assistant",
    "recover",
    "search",
    "sweep",
    "verify",
]


_OF_FOUR = 4
"""Groups of four divide the axis of every weight that sparse kernels can take."""


def inspect(
    model: Path,
    *,
    pool: SchemePool | None = None,
    selection: Selection | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    data: Path | None = None,
    bridge: bool = False,
    seed: int = 0,
    threads: int = 0,
) -> InspectResult:
    """List the sites and skips of a model.

    Parameters
    ----------
    data
        Samples that tell the shapes of dynamic inputs.
    bridge
        Also find out whether the model can be finetuned: on the first of the data or, without, on random inputs that
        `seed` decides. This alone imports torch; ONNX Runtime is asked for shapes too, where any are given.

    Raises
    ------
    ModelError
        If the model can't be read.
    DataError
        If `input_shapes` or the data don't fit it.
    DependencyError
        If `bridge` is wanted and torch is missing.
    """
    file = read_model(model)
    samples = None if data is None else _samples(data, file)
    known = {**({} if samples is None else samples.shapes()), **(input_shapes or {})}
    table = shapes_seen(file, known, samples, seed=seed)
    inventory = take_inventory(file, pool or SchemePool.fixed_m(), table, selection)
    readiness = None
    if bridge:
        keys = [site.key for site in inventory.sites]
        readiness = _readiness(file, keys, samples, shapes=known, seed=seed, threads=threads)
    return InspectResult(file=file, inventory=inventory, manifest=read_manifest(file.proto), bridge=readiness)


def search(model: Path, options: CompressOptions, observer: Observer | None = None) -> SearchResult:
    """Choose the scheme of every site under the budget, and write nothing.

    Raises
    ------
    ModelError, DataError, BudgetError
        As `compress`.
    """
    run = Run(model, options, observer)
    run.read()
    planned, _ = choose(run)
    return SearchResult(
        plan=planned.plan,
        inventory=run.inventory,
        decisions=planned.decisions,
        prediction=planned.prediction,
        seconds=dict(run.seconds),
        peaks=dict(run.peaks),
        warnings=tuple(run.warnings),
    )


def compress(model: Path, output: Path, options: CompressOptions, observer: Observer | None = None) -> CompressResult:
    """Read `model`, choose schemes, prune, finetune, write `output`, and compare it with `model` in ONNX Runtime.

    Raises
    ------
    ModelError
        If the model can't be read.
    DataError
        If the data don't fit it.
    PlanError, BudgetError
        If the plan doesn't fit it, or the budget is out of reach.
    OutputError
        If the output exists (without `force`), is an input, or can't be written.
    CheckpointError
        If the checkpoint's folder can't be used, or is another run's.
    """
    check_output(output, (model, *options.inputs), force=options.force)
    run = Run(model, options, observer)
    run.read()
    trials = Trials(run) if options.max_drop is not None else None
    tried: tuple[Trial, ...] = ()
    checkpoint = open_checkpoint(run)
    if options.permute:
        permute(run)

    def make() -> tuple[Planned, Solved]:
        nonlocal tried
        if trials is not None and options.max_drop is not None:
            found, tried = trials.sparsest_within(options.max_drop)
            return found.planned, found.solved
        planned, solved = choose(run)
        return planned, solved or solve(run, planned.plan)

    planned, solved = solved_once(run, checkpoint, make)
    recovery = recover_if_possible(run, planned.plan, solved, checkpoint) if options.recover else None
    if recovery is not None and trials is not None and options.max_drop is not None:
        comparison = trials.judge(solved, recovery)
        if not comparison.is_within(options.max_drop):
            lost = f"{comparison.drop:.3g} of {comparison.metric}"
            run.warn(f"after finetuning {lost} is lost, so the weights of before are written")
            recovery = None
    return finish(run, output, planned, solved, recovery, trials=tried)


def sweep(
    model: Path, reductions: Sequence[float], options: CompressOptions, observer: Observer | None = None
) -> SweepResult:
    """Choose and refit a plan for each share of zeros, and say what it is worth on data set apart; nothing is written.

    Parameters
    ----------
    reductions
        Shares of zeros over all Conv/Gemm/MatMul weights, 0 to 1; what the model can't reach is left out, with a
        warning.

    Raises
    ------
    ModelError, DataError
        As `compress`.
    BudgetError
        If none of them can be reached.
    """
    run = Run(model, dataclasses.replace(options, recover=False), observer)
    run.read()
    trials = Trials(run)
    reachable = [reduction for reduction in sorted(set(reductions)) if reduction <= trials.most]
    for reduction in sorted(set(reductions) - set(reachable)):
        run.warn(f"--sparsity {reduction:g} can't be reached on this model: at most {trials.most:.4g} is possible")
    if not reachable:
        raise BudgetError(f"none of these shares of zeros can be reached: at most {trials.most:.4g} is possible")
    size, zipped = trials.dense_bytes()
    tried = tuple(trials.at(Budget(measure="params", reduction=reduction)).trial for reduction in reachable)
    return SweepResult(
        model=model,
        dense_bytes=size,
        dense_bytes_gzipped=zipped,
        trials=tried,
        seconds=dict(run.seconds),
        warnings=tuple(run.warnings),
    )


def apply(
    model: Path, plan: Plan, output: Path, options: CompressOptions, observer: Observer | None = None
) -> CompressResult:
    """Prune `model` as `plan` says, without search or finetuning; refitted where there are data.

    Raises
    ------
    PlanError
        If the plan doesn't fit the model.
    """
    check_output(output, (model, *options.inputs), force=options.force)
    run = Run(model, options, observer)
    run.read()
    if options.permute:
        permute(run)
    planned = Planned(plan=fitted(run, plan))
    return finish(run, output, planned, solve(run, planned.plan))


def recover(
    model: Path, teacher: Path, output: Path, options: CompressOptions, observer: Observer | None = None
) -> CompressResult:
    """Finetune a file that domino-onnx wrote: what is zero stays zero, `teacher` is the dense model.

    Raises
    ------
    PlanError
        If `model` has no manifest, so that nothing says which zeros are meant.
    RecoveryError, ModelError
        If it can't be finetuned; here that is an error, since nothing else was asked for.
    """
    check_output(output, (model, teacher, *options.inputs), force=options.force)
    run = Run(model, options, observer)
    run.read()
    manifest = read_manifest(run.file.proto)
    if manifest is None:
        raise PlanError(f"{model} has no domino-onnx manifest; make it with `domino-onnx compress` or `apply` first")
    if manifest.weight_type != "keep":
        raise PlanError(
            f"the weights of {model} are {manifest.weight_type}, which can't be finetuned: recover the file that it "
            f"was made from, with --weights {manifest.weight_type}"
        )
    plan = Plan(
        source_sha256=manifest.source_sha256,
        strategy=manifest.strategy,
        schemes=FrozenMapping((entry.key, entry.scheme) for entry in manifest.entries),
        budgets=manifest.budgets,
        target=manifest.target,
        seed=manifest.seed,
    )
    plan = run.admit(plan)
    plan.check_fits(run.inventory, manifest.source_sha256)
    if all(scheme.is_dense for scheme in plan.schemes.values()):
        raise PlanError(f"{model} has no pruned weight, so there is nothing to recover")
    weights = {key: run.load(key) for key, scheme in plan.schemes.items() if not scheme.is_dense}
    solved = Solved(weights=weights, biases={key: run.load(key) for key in manifest.also_changed})
    taught = read_model(teacher).sha256
    if manifest.source_sha256 not in ("", taught):
        run.warn(f"{model} was made from another file than the teacher {teacher}, whose answers it learns now")
    checkpoint = open_checkpoint(run, teacher_sha256=taught)
    try:
        recovery = finetune(run, plan, solved, teacher, checkpoint)
    except ModelError as error:
        if manifest.precision == "keep":
            raise
        remedy = f"recover the file that it was made from, with --precision {manifest.precision}"
        raise ModelError(f"{error}. {model} is in half precision: {remedy}") from None
    return finish(run, output, Planned(plan=plan), solved, recovery, reference=teacher)


def convert(
    model: Path, output: Path, form: Form | None = None, *, lowering: Lowering = KEEP, force: bool = False
) -> ConvertResult:
    """Write `model` with its weights in another form, bit for bit the same ones; all else stays as it is.

    The model need not be one of domino-onnx: whatever has zeros can be packed, and sparse tensors made dense.

    Parameters
    ----------
    form
        None: the form that it has.
    lowering
        What to write it in; if not what it is in, weights don't stay bit for bit the same ones, but their zeros do.

    Raises
    ------
    ModelError
        If the model can't be read, or not converted.
    CheckFailed
        If its manifest can't be read, where that has to be written again.
    OutputError
        If the output exists (without `force`), is an input, or can't be written.
    """
    check_output(output, (model,), force=force)
    file = read_model(model, for_conversion=True)
    form = form or file.form
    check_lowering(file, lowering)
    before = sum(path.stat().st_size for path in (model, *file.data_files))
    made = lower(file, {}, read_manifest(file.proto), lowering) if lowering.is_needed else Lowered(file=file)
    written = write_model(made.file, {}, made.manifest, output, form=form, force=force)
    useless = form != "dense" and all(outcome.kind == "dense" for outcome in written.outcomes)
    return ConvertResult(
        model=model,
        output=output,
        before=file.form,
        form=form,
        lowering=lowering,
        bytes_before=before,
        bytes_after=written.nbytes,
        outcomes=written.outcomes,
        warnings=(why_dense(form, written.outcomes),) if useless else (),
    )


def assist(model: Path, options: CompressOptions, *, teacher: Path | None = None) -> None:
    """What a further process of torch's launcher does while the first one compresses or recovers `model`.

    It takes its share of the finetuning, and writes nothing.

    Raises
    ------
    ModelError, DataError, RecoveryError
        As `recover`.
    """
    run = Run(model, options, None)
    run.read()
    if options.max_drop is not None:
        Trials(run)  # which sets data apart
    if options.permute:
        permute(run)
    help_finetuning(run, teacher or model)


def evaluate(
    reference: Path,
    candidate: Path,
    data: Path,
    *,
    device: Device = "auto",
    threads: int = 0,
    batch_size: int = 32,
    observer: Observer | None = None,
) -> Evaluation:
    """Compare two models with the same inputs and outputs in ONNX Runtime.

    Raises
    ------
    ModelError
        If a model can't be read or run.
    DataError
        If the data don't fit the reference.
    """
    from domino_onnx.data import input_specs, load_data
    from domino_onnx.evaluate import evaluate_models

    file = read_model(reference)
    read_model(candidate)
    samples = load_data(data, file.proto)
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if observer is not None:
            observer.progress(done, samples.count, f"{done} of {samples.count} samples")

    if observer is not None:
        observer.stage("evaluate")
    return evaluate_models(
        reference,
        candidate,
        samples,
        specs=input_specs(file.proto),
        device=device,
        threads=threads,
        batch_size=batch_size,
        progress=tell,
    )


def doctor(model: Path, *, log: Path | None = None) -> DoctorResult:
    """Say of every weight of any ONNX file whether TensorRT's sparse kernels can and will run it, and why not.

    Parameters
    ----------
    log
        A log of TensorRT's builder, which tells what it really picked.

    Raises
    ------
    ModelError
        If the model can't be read.
    DataError
        If the log can't be read.
    """
    file = read_model(model)
    inventory = take_inventory(file, SchemePool.fixed_m(_OF_FOUR), {})
    tensors = stored_tensors(file.proto)
    return DoctorResult(
        model=model,
        diagnoses=tuple(diagnose(site, file.array(tensors[site.key])) for site in inventory.sites),
        skips=tuple(skip for skip in inventory.skips if skip.counted),
        log=None if log is None else _build_log(log),
    )


def verify(model: Path) -> Verdict:
    """Check a file against its own manifest.

    Raises
    ------
    ModelError
        If it can't be read.
    CheckFailed
        If its manifest can't be read.
    """
    from domino_onnx.evaluate import verify_file

    return verify_file(read_model(model))


def _build_log(path: Path) -> BuildLog:
    try:
        return read_build_log(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise DataError(f"can't read the log {path}: {error.strerror or error}") from None


def _samples(data: Path, file: OnnxFile) -> Dataset:
    from domino_onnx.data import load_data

    return load_data(data, file.proto)


def _readiness(
    file: OnnxFile,
    keys: Sequence[WeightKey],
    samples: Dataset | None,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    threads: int,
) -> Readiness:
    try:
        from domino_onnx.bridge import check_readiness
    except ImportError as error:
        raise torch_missing(error) from None
    return check_readiness(file, keys, samples, shapes=shapes, seed=seed, threads=threads)

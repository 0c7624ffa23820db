"""What makes a pruned model, or a plan for one: its stages in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.options import CompressOptions
from domino_onnx.pipeline.run import Run
from domino_onnx.report.results import CompressResult, SearchResult, SweepResult
from domino_onnx.scheme import Plan
from domino_onnx.stages import (
    Journal,
    Made,
    Observer,
    Output,
    Purpose,
    check_plans,
    claim_checkpoint,
    find,
    finetune_file,
    finetune_within,
    found_for_budgets,
    found_in_file,
    found_once,
    given_plan,
    help_finetuning,
    name_of_sweep,
    open_laboratory,
    open_pruned,
    preflight,
    reachable_shares,
    read,
    require_devices,
    require_goal,
    require_plan,
    search_result,
    sweep_result,
    tell_idle_options,
    write,
    write_plans,
    write_sweep_report,
)

if TYPE_CHECKING:
    from domino_onnx.evaluate import Metric
    from domino_onnx.finetuning import Finetuned
    from domino_onnx.stages.choosing import Found
    from domino_onnx.stages.laboratory import Laboratory

__all__ = ["apply", "assist", "compress", "finetune", "search", "sweep"]


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
    run = Run.begin(options, observer, output if keeps else None, force=force, metric=metric)
    with run.checkpoint:
        return run.finish(_compressed(run, model, run.output(output, model)), report)


def search(
    model: Path, options: CompressOptions, observer: Observer | None = None, *, metric: Metric | None = None
) -> SearchResult:
    """Choose the scheme of every site within the goal's budgets, and write nothing."""
    journal = Journal(observer)
    tell_idle_options(options, journal)
    plan = given_plan(options)
    lab = open_laboratory(read(model, options, journal, "prune", plan=plan, metric=metric), options, journal, plan)
    require_plan(lab, options.goal.budgets)
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
    if plans is not None:
        check_plans(plans, shares, report)
    place = name_of_sweep(model, report, plans) if keeps else None
    run = Run.begin(options.without_goal(), observer, place, force=force, metric=metric)
    with run.checkpoint:
        tell_idle_options(run.options, run.journal, keeps=run.checkpoint.keeps)
        source = read(model, run.options, run.journal, "prune", judged=True, metric=metric)
        lab = open_laboratory(source, run.options, run.journal, checkpoint=run.checkpoint)
        claim_checkpoint(lab, "sweep")
        reachable = reachable_shares(lab, shares)
        preflight(lab, "sweep", plans=len(reachable))
        result = sweep_result(lab, reachable)
        if plans is not None:
            write_plans(plans, result, run.replacing)
        if report is not None:
            write_sweep_report(report, result, run.replacing)
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
    run = Run.begin(options.without_goal(), observer, output if keeps else None, force=force, metric=metric)
    with run.checkpoint:
        return run.finish(_applied(run, model, plan, run.output(output, model)), report)


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
    run = Run.begin(options.without_goal(), observer, output if keeps else None, force=force, metric=metric)
    with run.checkpoint:
        return run.finish(_finetuned(run, model, teacher, run.output(output, model, teacher)), report)


def assist(model: Path, options: CompressOptions, *, teacher: Path | None = None) -> None:
    """Help another process of torch's launcher to finetune: take a share of each batch, and write nothing."""
    options = options if teacher is None else options.without_goal()
    plan = given_plan(options)
    judged = options.goal.max_drop is not None
    purpose: Purpose = "prune" if teacher is None else "finetune"
    source = read(model, options, Journal(), purpose, judged=judged, plan=plan, finetunes=options.finetune.enabled)
    if teacher is None:
        lab = open_laboratory(source, options, Journal(), plan)
    else:
        lab = open_pruned(source, options, Journal(), teacher)
    help_finetuning(lab)


def _compressed(run: Run, model: Path, output: Output) -> Made:
    """The model leaves memory with this function. ONNX Runtime needs the room when it compares."""
    options = run.options
    tell_idle_options(options, run.journal, finetunes=True, keeps=run.checkpoint.keeps)
    require_devices(options, trains=True)
    plan = given_plan(options)
    judged = options.goal.max_drop is not None
    source = read(
        model,
        options,
        run.journal,
        "prune",
        output=output,
        judged=judged,
        plan=plan,
        metric=run.metric,
        finetunes=options.finetune.enabled,
    )
    lab = open_laboratory(source, options, run.journal, plan, checkpoint=run.checkpoint)
    claim_checkpoint(lab, "compress")
    require_goal(lab)
    preflight(lab, "compress", output=output.path)
    found = found_once(lab)
    return _written(lab, found, output, finetune_within(lab, found))


def _applied(run: Run, model: Path, plan: Plan, output: Output) -> Made:
    tell_idle_options(run.options, run.journal, searches=False, keeps=run.checkpoint.keeps)
    source = read(model, run.options, run.journal, "prune", output=output, plan=plan, metric=run.metric)
    lab = open_laboratory(source, run.options, run.journal, plan, checkpoint=run.checkpoint)
    claim_checkpoint(lab, "apply")
    require_goal(lab)
    preflight(lab, "apply", output=output.path)
    return _written(lab, find(lab, ()), output, None)


def _finetuned(run: Run, model: Path, teacher: Path, output: Output) -> Made:
    tell_idle_options(run.options, run.journal, searches=False, keeps=run.checkpoint.keeps)
    require_devices(run.options, trains=True)
    source = read(model, run.options, run.journal, "finetune", output=output, also=(teacher,), metric=run.metric)
    lab = open_pruned(source, run.options, run.journal, teacher, run.checkpoint)
    found = found_in_file(lab)
    preflight(lab, "finetune", output=output.path)
    return _written(lab, found, output, finetune_file(lab, found))


def _written(lab: Laboratory, found: Found, output: Output, finetuned: Finetuned | None) -> Made:
    """What is kept leads to the model, and writing uses that up."""
    lab.checkpoint.settle()
    return write(lab, found, output, finetuned)

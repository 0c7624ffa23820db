"""The stage that finetunes what was solved."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import DependencyError, FinetuneError, ModelError
from domino_onnx.graph import OnnxFile, read_model
from domino_onnx.scheme import Plan, WeightKey
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.context import ONLY_INTEGERS, Run, torch_missing
from domino_onnx.stages.resuming import stopping
from domino_onnx.stages.solving import Solved, Weights

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned, FinetuneStep, TrainingRun, WeightGroups

Job = tuple[str, Weights, Weights]
"""A plan as JSON, and the weights and biases that it came to."""

__all__ = ["assist", "finetune_if_possible", "finetune_or_raise", "is_assistant"]


def finetune_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Finetuned | None:
    """Finetune as a whole or in blocks, as the options and the model allow; a warning that says why not."""
    if not solved.weights:
        _told_to_others(run, None)
        return None
    if not _can_learn(run, solved):
        run.warn(f"finetuning is skipped: {ONLY_INTEGERS}")
        _told_to_others(run, None)
        return None
    finetuned = None
    if _goes_by_blocks(run):
        finetuned = _in_blocks_if_possible(run, plan, solved, checkpoint)
        solved = _after(solved, finetuned)
    if not _goes_as_a_whole(run):
        _told_to_others(run, None)
        return finetuned
    if run.distillation(run.model, "finetuning is skipped" if run.data is None else "no finetuning as a whole") is None:
        _told_to_others(run, None)
        return finetuned if _goes_by_blocks(run) else _in_blocks_if_possible(run, plan, solved, checkpoint)
    try:
        return finetune_whole(run, plan, solved, run.model, checkpoint)
    except (ModelError, FinetuneError) as error:
        run.warn(f"finetuning is skipped: {error}")
        return finetuned


def finetune_or_raise(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None) -> Finetuned:
    """The same for whoever asked for nothing else: errors are the caller's."""
    if not _can_learn(run, solved):
        raise FinetuneError(ONLY_INTEGERS)
    finetuned = None
    if _goes_by_blocks(run):
        finetuned = in_blocks(run, plan, solved, read_model(teacher), checkpoint)
        solved = _after(solved, finetuned)
    if finetuned is None or _goes_as_a_whole(run):
        return finetune_whole(run, plan, solved, teacher, checkpoint)
    _told_to_others(run, None)
    return finetuned


def _can_learn(run: Run, solved: Solved) -> bool:
    """Whether a gradient moves any of the weights."""
    return not solved.weights.keys().isdisjoint(run.learning)


def _in_blocks_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Finetuned | None:
    if run.data is None:
        return None
    try:
        return in_blocks(run, plan, solved, run.file, checkpoint)
    except (DependencyError, ModelError, FinetuneError) as error:
        run.warn(f"finetuning in blocks is skipped: {error}")
        return None


def _after(solved: Solved, finetuned: Finetuned | None) -> Solved:
    """With the values that a finetuning came to."""
    if finetuned is None:
        return solved
    weights = {key: finetuned.values[key] for key in solved.weights}
    return dataclasses.replace(solved, weights=weights, biases={key: finetuned.values[key] for key in solved.biases})


def in_blocks(run: Run, plan: Plan, solved: Solved, dense: OnnxFile, checkpoint: Checkpoint | None) -> Finetuned:
    """Finetune what can be, block by block, and say what can't.

    Raises
    ------
    DependencyError
        If torch is missing.
    FinetuneError, ModelError
        If there are no data, or no block can be trained.
    """
    if run.split is None:
        raise FinetuneError("finetuning needs data: give --data")
    try:
        from domino_onnx.finetuning import finetune_blocks
    except ImportError as error:
        raise torch_missing(error) from None
    _warn_of_few_samples(run)
    with run.stage("finetune"), _stoppable(run) as stopped:
        finetuned = finetune_blocks(
            dense,
            run.split,
            solved.weights,
            run.finetune_options(),
            _training_run(run),
            biases=solved.biases,
            groups=_groups(run, plan, solved),
            progress=lambda step: run.progress(step.step, step.step, f"loss {step.loss:.4f}"),
            checkpoints=None if checkpoint is None else lambda block: checkpoint.part(f"block-{block}"),
            stopped=stopped,
            device=run.options.device,
            threads=run.options.threads,
        )
    missing = _missing_operators(run)
    if finetuned.frozen or missing:
        why = f"no torch counterpart for {', '.join(missing)}: " if missing else ""
        named = ", ".join(map(str, finetuned.frozen)) or "none"
        count = f"{len(solved.weights) - len(finetuned.frozen)} of {len(solved.weights)} weights"
        run.warn(f"{why}finetuned block by block: {count}; left as they were: {named}")
    _warn_of_divergence(run, finetuned)
    return finetuned


def _goes_by_blocks(run: Run) -> bool:
    return run.options.finetune_scope != "model" or bool(_missing_operators(run))


def _goes_as_a_whole(run: Run) -> bool:
    return run.options.finetune_scope != "blocks" and not _missing_operators(run)


def _missing_operators(run: Run) -> tuple[str, ...]:
    """What stands in the way of training the model as a whole; nothing where there is no torch to ask or no data."""
    if run.data is None:
        return ()
    try:
        from domino_onnx.bridge import missing_operators
    except ImportError:
        return ()
    return missing_operators(run.file.proto)


def finetune_whole(
    run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None = None
) -> Finetuned:
    """Finetune weights and the biases that were refitted with them; errors are the caller's.

    Other processes that torch's launcher started, and that `assist`, take their share.
    """
    _told_to_others(run, (plan.to_json(), dict(solved.weights), dict(solved.biases)))
    return _finetune_whole(run, plan, solved, teacher, checkpoint)


def assist(run: Run, teacher: Path) -> None:
    """Take a share of the finetuning that process 0 is going to do; nothing is written here."""
    job = _told_to_others(run, None)
    if job is not None:
        text, weights, biases = job
        plan = run.admit(Plan.from_json(text))
        _finetune_whole(run, plan, Solved(weights=weights, biases=biases), teacher, None)


def is_assistant() -> bool:
    """Whether torch's launcher started this process to help another."""
    return int(os.environ.get("RANK", "0")) > 0


def _told_to_others(run: Run, job: Job | None) -> Job | None:
    """What process 0 has to do, in all processes; torch is only asked where there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return job
    from domino_onnx.finetuning import Processes, torch_device

    told: Job | None = Processes.current(torch_device(run.options.device)).from_first(job)
    return told


def _finetune_whole(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None) -> Finetuned:
    from domino_onnx.finetuning import Processes, finetune, torch_device

    options = run.finetune_options()

    def tell(step: FinetuneStep) -> None:
        held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
        run.progress(step.step, options.steps, f"loss {step.loss:.4f}{held_out}")

    with run.stage("finetune"), _stoppable(run) as stopped:
        distillation = run.open_distillation(teacher)
        _warn_of_few_samples(run)
        finetuned = finetune(
            distillation,
            solved.weights,
            options,
            _training_run(run),
            biases=solved.biases,
            groups=_groups(run, plan, solved),
            progress=tell,
            checkpoint=checkpoint.part("finetuning") if checkpoint is not None else None,
            stopped=stopped,
            processes=Processes.current(torch_device(run.options.device)),
        )
    if finetuned.frozen:
        named = ", ".join(map(str, finetuned.frozen))
        run.warn(f"left as they were, because no gradient moves integers: {named}")
    _warn_of_divergence(run, finetuned)
    return finetuned


def _stoppable(run: Run) -> contextlib.AbstractContextManager[Callable[[], bool] | None]:
    """Signals wait for the end of a step where there is a checkpoint to save, and end the program at once where not."""
    return stopping() if run.options.checkpoint is not None else contextlib.nullcontext()


def _warn_of_few_samples(run: Run) -> None:
    if run.split is not None and not run.split.holds_out:
        run.warn("too few samples to hold any out: finetuning is judged by the samples that it learns from")


def _groups(run: Run, plan: Plan, solved: Solved) -> dict[WeightKey, WeightGroups]:
    from domino_onnx.finetuning import WeightGroups

    layouts = {site.key: site.layout for site in run.inventory.sites}
    return {key: WeightGroups(layout=layouts[key], scheme=plan.schemes[key]) for key in solved.weights}


def _training_run(run: Run) -> TrainingRun:
    from domino_onnx.finetuning import TrainingRun

    options = run.options
    return TrainingRun(batch_size=options.batch_size, seed=options.seed, checkpoint_every=options.checkpoint_every)


def _warn_of_divergence(run: Run, finetuned: Finetuned) -> None:
    if finetuned.diverged:
        run.warn(
            f"finetuning diverged at {finetuned.lr:g} and at half and a quarter of that rate; the best state before, "
            f"of step {finetuned.best_step}, is used: a lower --finetune-lr may do better"
        )
    elif finetuned.halvings:
        run.warn(f"finetuning diverged and went on from its best state at {0.5**finetuned.halvings:g} of the rate")

"""The stage that finetunes what was solved."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import DependencyError, ModelError, RecoveryError
from domino_onnx.graph import OnnxFile, read_model
from domino_onnx.scheme import Plan, WeightKey
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.context import ONLY_INTEGERS, Run, torch_missing
from domino_onnx.stages.resuming import stopping
from domino_onnx.stages.solving import Solved, Weights

if TYPE_CHECKING:
    from domino_onnx.finetuning import Grouping, Recovery, RecoveryOptions

Job = tuple[str, Weights, Weights]
"""A plan as JSON, and the weights and biases that it came to."""

__all__ = ["assist", "is_assistant", "recover", "recover_if_possible"]


def recover_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Recovery | None:
    """Finetune as a whole or in blocks, as the options and the model allow; a warning that says why not."""
    if not solved.weights:
        _told_to_others(run, None)
        return None
    if not _can_learn(run, solved):
        run.warn(f"recovery is skipped: {ONLY_INTEGERS}")
        _told_to_others(run, None)
        return None
    recovery = None
    if _goes_by_blocks(run):
        recovery = _in_blocks_if_possible(run, plan, solved, checkpoint)
        solved = _after(solved, recovery)
    if not _goes_as_a_whole(run):
        _told_to_others(run, None)
        return recovery
    if run.distillation(run.model, "recovery is skipped" if run.data is None else "no recovery as a whole") is None:
        _told_to_others(run, None)
        return recovery if _goes_by_blocks(run) else _in_blocks_if_possible(run, plan, solved, checkpoint)
    try:
        return finetune(run, plan, solved, run.model, checkpoint)
    except (ModelError, RecoveryError) as error:
        run.warn(f"recovery is skipped: {error}")
        return recovery


def recover(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None) -> Recovery:
    """The same for whoever asked for nothing else: errors are the caller's."""
    if not _can_learn(run, solved):
        raise RecoveryError(ONLY_INTEGERS)
    recovery = None
    if _goes_by_blocks(run):
        recovery = in_blocks(run, plan, solved, read_model(teacher), checkpoint)
        solved = _after(solved, recovery)
    if recovery is None or _goes_as_a_whole(run):
        return finetune(run, plan, solved, teacher, checkpoint)
    _told_to_others(run, None)
    return recovery


def _can_learn(run: Run, solved: Solved) -> bool:
    """Whether a gradient moves any of the weights."""
    return not solved.weights.keys().isdisjoint(run.learning)


def _in_blocks_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Recovery | None:
    if run.data is None:
        return None
    try:
        return in_blocks(run, plan, solved, run.file, checkpoint)
    except (DependencyError, ModelError, RecoveryError) as error:
        run.warn(f"recovery in blocks is skipped: {error}")
        return None


def _after(solved: Solved, recovery: Recovery | None) -> Solved:
    """With the values that a recovery came to."""
    if recovery is None:
        return solved
    weights = {key: recovery.values[key] for key in solved.weights}
    return dataclasses.replace(solved, weights=weights, biases={key: recovery.values[key] for key in solved.biases})


def in_blocks(run: Run, plan: Plan, solved: Solved, dense: OnnxFile, checkpoint: Checkpoint | None) -> Recovery:
    """Finetune what can be, part by part, and say what can't.

    Raises
    ------
    DependencyError
        If torch is missing.
    RecoveryError, ModelError
        If there are no data, or no part can be trained.
    """
    if run.data is None:
        raise RecoveryError("finetuning needs data: give --data")
    try:
        from domino_onnx.finetuning import BlockOptions, recover_blocks
    except ImportError as error:
        raise torch_missing(error) from None
    with run.stage("recover"), _stoppable(run) as stopped:
        recovery = recover_blocks(
            dense,
            run.data,
            solved.weights,
            _settings(run),
            lambda step: run.progress(step.step, step.step, f"loss {step.loss:.4f}"),
            biases=solved.biases,
            groupings=_groupings(run, plan, solved),
            blocks=BlockOptions(device=run.options.device, threads=run.options.threads),
            stores=None if checkpoint is None else lambda block: checkpoint.part(f"block-{block}"),
            stopped=stopped,
        )
    missing = _missing_operators(run)
    if recovery.frozen or missing:
        why = f"no torch counterpart for {', '.join(missing)}: " if missing else ""
        named = ", ".join(map(str, recovery.frozen)) or "none"
        count = f"{len(solved.weights) - len(recovery.frozen)} of {len(solved.weights)} weights"
        run.warn(f"{why}finetuned part by part: {count}; left as they were: {named}")
    _warn_of_divergence(run, recovery)
    return recovery


def _goes_by_blocks(run: Run) -> bool:
    return run.options.recover_scope != "model" or bool(_missing_operators(run))


def _goes_as_a_whole(run: Run) -> bool:
    return run.options.recover_scope != "blocks" and not _missing_operators(run)


def _missing_operators(run: Run) -> tuple[str, ...]:
    """What stands in the way of training the model as a whole; nothing where there is no torch to ask or no data."""
    if run.data is None:
        return ()
    try:
        from domino_onnx.bridge import missing_operators
    except ImportError:
        return ()
    return missing_operators(run.file.proto)


def finetune(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None = None) -> Recovery:
    """Finetune weights and the biases that were refitted with them; errors are the caller's.

    Other processes that torch's launcher started, and that `assist`, take their share.
    """
    _told_to_others(run, (plan.to_json(), dict(solved.weights), dict(solved.biases)))
    return _finetune(run, plan, solved, teacher, checkpoint)


def assist(run: Run, teacher: Path) -> None:
    """Take a share of the finetuning that process 0 is going to do; nothing is written here."""
    job = _told_to_others(run, None)
    if job is not None:
        text, weights, biases = job
        plan = run.admit(Plan.from_json(text))
        _finetune(run, plan, Solved(weights=weights, biases=biases), teacher, None)


def is_assistant() -> bool:
    """Whether torch's launcher started this process to help another."""
    return int(os.environ.get("RANK", "0")) > 0


def _told_to_others(run: Run, job: Job | None) -> Job | None:
    """What process 0 has to do, in all processes; torch is only asked where there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return job
    from domino_onnx.finetuning import World, torch_device

    told: Job | None = World.current(torch_device(run.options.device)).from_first(job)
    return told


def _finetune(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None) -> Recovery:
    from domino_onnx.finetuning import RecoveryStep, World, finetune, torch_device

    settings = _settings(run)

    def tell(step: RecoveryStep) -> None:
        held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
        run.progress(step.step, settings.steps, f"loss {step.loss:.4f}{held_out}")

    with run.stage("recover"), _stoppable(run) as stopped:
        distillation = run.open_distillation(teacher)
        if np.array_equal(np.sort(distillation.train), np.sort(distillation.held_out)):
            run.warn("too few samples to hold any out: recovery is judged by the samples that it learns from")
        recovery = finetune(
            distillation,
            solved.weights,
            settings,
            tell,
            biases=solved.biases,
            groupings=_groupings(run, plan, solved),
            store=checkpoint.part("recovery") if checkpoint is not None else None,
            stopped=stopped,
            world=World.current(torch_device(run.options.device)),
        )
    if recovery.frozen:
        named = ", ".join(map(str, recovery.frozen))
        run.warn(f"left as they were, because no gradient moves integers: {named}")
    _warn_of_divergence(run, recovery)
    return recovery


def _stoppable(run: Run) -> contextlib.AbstractContextManager[Callable[[], bool] | None]:
    """Signals wait for the end of a step where there is a checkpoint to save, and end the program at once where not."""
    return stopping() if run.options.checkpoint is not None else contextlib.nullcontext()


def _groupings(run: Run, plan: Plan, solved: Solved) -> dict[WeightKey, Grouping]:
    from domino_onnx.finetuning import Grouping

    layouts = {site.key: site.layout for site in run.inventory.sites}
    return {key: Grouping(layout=layouts[key], scheme=plan.schemes[key]) for key in solved.weights}


def _settings(run: Run) -> RecoveryOptions:
    from domino_onnx.finetuning import RecoveryOptions

    options = run.options
    return RecoveryOptions(
        steps=options.recover_steps,
        batch_size=options.batch_size,
        lr=options.recover_lr,
        method=options.recover_method,
        optimizer=options.recover_optimizer,
        ema=options.recover_ema,
        checkpoint_every=options.checkpoint_every,
        seed=options.seed,
    )


def _warn_of_divergence(run: Run, recovery: Recovery) -> None:
    if recovery.diverged:
        run.warn(
            f"finetuning diverged at {recovery.lr:g} and at half and a quarter of that rate; the best state before, of "
            f"step {recovery.best_step}, is used: a lower --recover-lr may do better"
        )
    elif recovery.halvings:
        run.warn(f"finetuning diverged and went on from its best state at {0.5**recovery.halvings:g} of the rate")

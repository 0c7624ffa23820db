"""The stage that finetunes what was solved."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import ModelError, RecoveryError
from domino_onnx.run.checkpoint import Checkpoint
from domino_onnx.run.context import Run
from domino_onnx.run.resuming import stopping
from domino_onnx.run.solving import Solved, Weights
from domino_onnx.scheme import Plan, WeightKey

if TYPE_CHECKING:
    from domino_onnx.recovery import Grouping, Recovery, RecoveryOptions

Job = tuple[str, Weights, Weights]
"""A plan as JSON, and the weights and biases that it came to."""

__all__ = ["assist", "finetune", "is_assistant", "recover_if_possible"]


def recover_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Recovery | None:
    """Finetune as a whole or in blocks, as the options and the model's operators allow; a warning that says why not."""
    recovery = None
    if solved.weights and (run.options.recover_scope != "model" or _needs_blocks(run)):
        recovery = _in_blocks(run, plan, solved)
    whole = run.options.recover_scope != "blocks" and not _needs_blocks(run)
    if not solved.weights or not whole or run.distillation(run.model, "recovery is skipped") is None:
        _told_to_others(run, None)
        return recovery
    if recovery is not None:
        weights = {key: recovery.values[key] for key in solved.weights}
        solved = dataclasses.replace(solved, weights=weights, biases={k: recovery.values[k] for k in solved.biases})
    try:
        return finetune(run, plan, solved, run.model, checkpoint)
    except (ModelError, RecoveryError) as error:
        run.warn(f"recovery is skipped: {error}")
        return recovery


def _needs_blocks(run: Run) -> bool:
    """Whether an operator stands in the way of training the model as a whole, but not of training parts of it."""
    if run.data is None:
        return False
    try:
        from domino_onnx.bridge import missing_operators
    except ImportError:
        return False
    return bool(missing_operators(run.file.proto))


def _in_blocks(run: Run, plan: Plan, solved: Solved) -> Recovery | None:
    """Finetune what can be, part by part; None with a warning where nothing can."""
    if run.data is None:
        run.warn("no --data: recovery is skipped")
        return None
    from domino_onnx.bridge import missing_operators
    from domino_onnx.recovery import BlockOptions, recover_blocks

    missing = missing_operators(run.file.proto)
    why = f"no torch counterpart for {', '.join(missing)}: " if missing else ""
    settings = _settings(run)
    with run.stage("recover"):
        try:
            recovery = recover_blocks(
                run.file,
                run.data,
                solved.weights,
                settings,
                lambda step: run.progress(step.step, step.step, f"loss {step.loss:.4f}"),
                biases=solved.biases,
                groupings=_groupings(run, plan, solved),
                blocks=BlockOptions(device=run.options.device, threads=run.options.threads),
            )
        except (ModelError, RecoveryError) as error:
            run.warn(f"recovery is skipped: {why}{error}")
            return None
    if recovery.frozen or missing:
        named = ", ".join(map(str, recovery.frozen)) or "none"
        count = f"{len(solved.weights) - len(recovery.frozen)} of {len(solved.weights)} weights"
        run.warn(f"{why}finetuned part by part: {count}; left as they were refitted: {named}")
    _warn_of_divergence(run, recovery)
    return recovery


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
        plan = Plan.from_json(text)
        run.admit(plan.schemes)
        _finetune(run, plan, Solved(weights=weights, biases=biases), teacher, None)


def is_assistant() -> bool:
    """Whether torch's launcher started this process to help another."""
    return int(os.environ.get("RANK", "0")) > 0


def _told_to_others(run: Run, job: Job | None) -> Job | None:
    """What process 0 has to do, in all processes; torch is only asked where there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return job
    from domino_onnx.recovery import World, torch_device

    told: Job | None = World.current(torch_device(run.options.device)).from_first(job)
    return told


def _finetune(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None) -> Recovery:
    from domino_onnx.recovery import RecoveryStep, World, finetune, torch_device

    settings = _settings(run)

    def tell(step: RecoveryStep) -> None:
        held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
        run.progress(step.step, settings.steps, f"loss {step.loss:.4f}{held_out}")

    kept = run.options.checkpoint is not None
    with run.stage("recover"), stopping() if kept else contextlib.nullcontext() as stopped:
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
    _warn_of_divergence(run, recovery)
    return recovery


def _groupings(run: Run, plan: Plan, solved: Solved) -> dict[WeightKey, Grouping]:
    from domino_onnx.recovery import Grouping

    layouts = {site.key: site.layout for site in run.inventory.sites}
    return {key: Grouping(layout=layouts[key], scheme=plan.schemes[key]) for key in solved.weights}


def _settings(run: Run) -> RecoveryOptions:
    from domino_onnx.recovery import RecoveryOptions

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

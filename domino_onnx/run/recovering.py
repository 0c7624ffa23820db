"""The stage that finetunes what was solved."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import ModelError, RecoveryError
from domino_onnx.run.checkpoint import Checkpoint
from domino_onnx.run.context import Run
from domino_onnx.run.resuming import stopping
from domino_onnx.run.solving import Solved
from domino_onnx.scheme import Plan

if TYPE_CHECKING:
    from domino_onnx.recovery import Recovery, RecoveryOptions

__all__ = ["finetune", "recover_if_possible"]


def recover_if_possible(run: Run, plan: Plan, solved: Solved, checkpoint: Checkpoint | None) -> Recovery | None:
    """Finetune if that is possible; a warning that says why, if not."""
    if not solved.weights or run.distillation(run.model, "recovery is skipped") is None:
        return None
    try:
        return finetune(run, plan, solved, run.model, checkpoint)
    except (ModelError, RecoveryError) as error:
        run.warn(f"recovery is skipped: {error}")
        return None


def finetune(run: Run, plan: Plan, solved: Solved, teacher: Path, checkpoint: Checkpoint | None = None) -> Recovery:
    """Finetune weights and the biases that were refitted with them; errors are the caller's."""
    from domino_onnx.recovery import Grouping, RecoveryStep, finetune

    settings = _settings(run)
    layouts = {site.key: site.layout for site in run.inventory.sites}

    def tell(step: RecoveryStep) -> None:
        held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
        run.progress(step.step, settings.steps, f"loss {step.loss:.4f}{held_out}")

    with run.stage("recover"), stopping() if checkpoint is not None else contextlib.nullcontext() as stopped:
        distillation = run.open_distillation(teacher)
        if np.array_equal(np.sort(distillation.train), np.sort(distillation.held_out)):
            run.warn("too few samples to hold any out: recovery is judged by the samples that it learns from")
        recovery = finetune(
            distillation,
            solved.weights,
            settings,
            tell,
            biases=solved.biases,
            groupings={key: Grouping(layout=layouts[key], scheme=plan.schemes[key]) for key in solved.weights},
            store=checkpoint.part("recovery") if checkpoint is not None else None,
            stopped=stopped,
        )
    _warn_of_divergence(run, recovery)
    return recovery


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

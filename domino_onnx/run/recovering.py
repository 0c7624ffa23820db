"""The stage that finetunes what was solved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import ModelError, RecoveryError
from domino_onnx.run.context import Run
from domino_onnx.run.solving import Solved

if TYPE_CHECKING:
    from domino_onnx.recovery import Recovery

__all__ = ["finetune", "recover_if_possible"]


def recover_if_possible(run: Run, solved: Solved) -> Recovery | None:
    """Finetune if that is possible; a warning that says why, if not."""
    if not solved.weights or run.distillation(run.model, "recovery is skipped") is None:
        return None
    try:
        return finetune(run, solved, run.model)
    except (ModelError, RecoveryError) as error:
        run.warn(f"recovery is skipped: {error}")
        return None


def finetune(run: Run, solved: Solved, teacher: Path) -> Recovery:
    """Finetune weights and the biases that were refitted with them; errors are the caller's."""
    from domino_onnx.recovery import RecoveryOptions, RecoveryStep, finetune

    options = run.options
    steps = options.recover_steps

    def tell(step: RecoveryStep) -> None:
        held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
        run.progress(step.step, steps, f"loss {step.loss:.4f}{held_out}")

    with run.stage("recover"):
        distillation = run.open_distillation(teacher)
        if np.array_equal(np.sort(distillation.train), np.sort(distillation.held_out)):
            run.warn("too few samples to hold any out: recovery is judged by the samples that it learns from")
        settings = RecoveryOptions(steps=steps, batch_size=options.batch_size, lr=options.recover_lr, seed=options.seed)
        recovery = finetune(distillation, solved.weights, settings, tell, biases=solved.biases)
    if recovery.diverged:
        run.warn(f"finetuning diverged; the best state before that, of step {recovery.best_step}, is used")
    return recovery

"""What of a run is still to be done: one that goes on from a checkpoint does nothing twice."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from typing import TYPE_CHECKING

from domino_onnx.options import FinetuneOptions, rates_to_try, trial_steps
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.kept.losses import ALL_LOSSES, SOME_LOSSES, known_sites
from domino_onnx.stages.kept.plans import plans_in

if TYPE_CHECKING:
    from domino_onnx.forecast.work import Training, Work

__all__ = ["left_to_do"]


def left_to_do(work: Work, checkpoint: Checkpoint, options: FinetuneOptions) -> Work:
    """The work without what the checkpoint holds of it.

    Raises
    ------
    CheckpointError
        If a file of the checkpoint can't be read, or can't have been kept.
    """
    found = checkpoint.found
    if not found:
        return work
    training = work.training
    if training is not None and "finetuning" in found:
        training = _left_of_training(training, checkpoint, options)
    work = dataclasses.replace(work, training=training)
    return _after_the_goal(work) if "found" in found else _before_the_goal(work, checkpoint)


def _after_the_goal(work: Work) -> Work:
    """What comes after a plan and its weights were found: finetuning, and judging what it gave."""
    times, samples = work.measures
    trains = work.training is not None
    return dataclasses.replace(
        work,
        drawn=work.drawn if trains else 0,
        measures=(min(times, int(trains)), samples),
        searches=0,
        gradients=0,
        refits=0,
        trials=0,
    )


def _before_the_goal(work: Work, checkpoint: Checkpoint) -> Work:
    """Without losses that are known, plans that were solved, and trials. A trial makes its plan's weights needless."""
    tried, solved = min(_count(checkpoint, "trial-*"), work.trials), _count(checkpoint, "solved-*")
    plans = [] if work.trials else fnmatch.filter(checkpoint.found, "plan-*")
    refits = work.refits - tried * work.refits / max(work.trials, 1)
    for name in plans:
        refits = min(math.ceil(refits), checkpoint.look_at(name, plans_in) or 0)
    return dataclasses.replace(
        work,
        searches=0 if ALL_LOSSES in checkpoint.found else work.searches,
        known=checkpoint.look_at(SOME_LOSSES, known_sites) or frozenset(),
        gradients=0 if plans else work.gradients,
        refits=max(refits - solved, 0),
        trials=work.trials - tried,
    )


def _left_of_training(training: Training, checkpoint: Checkpoint, options: FinetuneOptions) -> Training:
    """Without the steps that were taken, once it is known how many there are."""
    from domino_onnx.finetuning import saved_progress

    progress = checkpoint.look_at("finetuning", saved_progress)
    if progress is None or progress.plan is None:
        return training
    rates = len(rates_to_try(options))
    still_tried = 0 if progress.peak is not None else max(rates - len(progress.rate_losses), 0)
    steps = max(progress.planned - progress.step, 0) + still_tried * trial_steps(progress.planned)
    whole = progress.planned + rates * trial_steps(progress.planned)
    looks = math.ceil(training.looks * min(steps / max(whole, 1), 1.0))
    return dataclasses.replace(training, steps=steps, looks=looks)


def _count(checkpoint: Checkpoint, pattern: str) -> int:
    return len(fnmatch.filter(checkpoint.found, pattern))

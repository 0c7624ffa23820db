"""A finetuning as it is going to be planned."""

from __future__ import annotations

from domino_onnx.forecast.timing import look_seconds, step_seconds
from domino_onnx.forecast.work import Training
from domino_onnx.options import (
    JUDGED_DRAWS,
    FinetuneOptions,
    Pace,
    looks_within,
    planned_steps,
    rates_to_try,
    trial_steps,
)

__all__ = ["expected_training"]


def expected_training(
    options: FinetuneOptions,
    *,
    batch: int,
    epoch: int,
    held_out: int,
    forward: float,
    varying: float = 0.0,
    drawing: float = 0.0,
    drawn: int = 0,
    drawn_first: int = 0,
) -> Training:
    """Its steps and looks. It may end before, where the held-out loss has stopped falling.

    Parameters
    ----------
    batch, drawn, drawn_first
        As `Training` has them.
    epoch
        Steps in which each training sample is seen once.
    held_out
        Samples that judge.
    forward, varying, drawing
        As `Work` has them.
    """
    judged = JUDGED_DRAWS * held_out
    step = step_seconds(batch, forward, varying) + drawn * drawing
    steps = planned_steps(options, epoch, Pace(step=step, look=look_seconds(judged, forward, varying))).steps
    rates = len(rates_to_try(options))
    return Training(
        steps=steps + rates * trial_steps(steps),
        batch=batch,
        looks=looks_within(steps) + rates,
        held_out=judged,
        drawn=drawn,
        drawn_first=drawn_first,
    )

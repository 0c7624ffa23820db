"""The learning rate: how it changes over the steps, and how its peak is chosen where none is given."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.finetuning.clipping import require_finite
from domino_onnx.finetuning.results import FinetuneStep
from domino_onnx.finetuning.trainer import Trainer
from domino_onnx.options import trial_steps

__all__ = ["best_rate", "schedule", "short_run"]

_HELD_OUT = 256
"""Held-out samples that judge a short run."""
_TOLERANCE = 0.25

_log = logging.getLogger(__name__)


def schedule(step: int, steps: int) -> float:
    """Share of the peak rate: linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm_up = max(steps // 20, 1)
    if step <= warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def short_run(
    trainer: Trainer,
    batches: Iterator[NDArray[np.int64]],
    lr: float,
    steps: int,
    after_step: Callable[[FinetuneStep], None],
) -> float:
    """Held-out loss after a short run at this rate from the given weights, which are there again afterwards.

    Parameters
    ----------
    steps
        Of the whole finetuning.

    Returns
    -------
    Infinity where the loss isn't finite.

    Raises
    ------
    FinetuneError
        If no step has a finite gradient, though the loss is finite.
    """
    planned, steps = steps, trial_steps(steps)
    left_out: list[str | None] = []
    for step in range(1, steps + 1):
        loss, endless = trainer.step(lr * schedule(step, steps), next(batches), step)
        after_step(FinetuneStep(step=0, loss=loss, lr=lr))
        if not math.isfinite(loss):
            break
        left_out.append(None if endless is None else str(endless))
        require_finite(left_out, planned)
    held_out = trainer.held_out_loss(_HELD_OUT)
    trainer.restart(trainer.given)
    _log.info("learning rate %g: held-out loss %.5g", lr, held_out)
    return held_out if math.isfinite(held_out) else math.inf


def best_rate(losses: dict[str, float]) -> float:
    """The largest rate with which a short run ends almost as well as with the best; the smallest if all diverge.

    Refitted weights lie where any step leads up at first: the best after a few steps is always the smallest rate,
    while in the long run a larger one leads further.

    Parameters
    ----------
    losses
        By the rate as text.
    """
    lowest = min(losses.values())
    if not math.isfinite(lowest):
        return min(map(float, losses))
    enough = lowest * (1 + _TOLERANCE)
    return max(float(lr) for lr, loss in losses.items() if loss <= enough)

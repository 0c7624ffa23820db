"""How fast a training is on this machine, found before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.finetuning.results import FinetuneStep
from domino_onnx.finetuning.trainer import Trainer
from domino_onnx.options import Duration, Pace

__all__ = ["measured_pace"]

_WARM_UP, _FEWEST = 2, 3
"""Steps that aren't counted, and the fewest that are."""
_SHARE = 0.01
"""Of the time that finetuning has: so much is measured, at most."""


def measured_pace(
    trainer: Trainer,
    batches: Iterator[NDArray[np.int64]],
    limit: Duration,
    began: float,
    after_step: Callable[[FinetuneStep], None],
) -> Pace:
    """The pace of steps at the rate 0, and of a look. The weights and the optimizer are as before in the end.

    Parameters
    ----------
    limit
        How long the training may take.
    began
        When it began, by `time.perf_counter`.
    """

    def step(draw: int) -> None:
        loss, _ = trainer.step(0.0, next(batches), draw)
        after_step(FinetuneStep(step=0, loss=loss, lr=0.0))

    for draw in range(1, _WARM_UP + 1):
        step(draw)
    start, counted = time.perf_counter(), 0
    while counted < _FEWEST or trainer.processes.from_first(time.perf_counter() - start < _SHARE * limit.seconds):
        counted += 1
        step(_WARM_UP + counted)
    stepped = time.perf_counter()
    trainer.held_out_loss()
    looked = time.perf_counter()
    trainer.restart(trainer.given)
    return Pace(step=(stepped - start) / counted, look=looked - stepped, spent=time.perf_counter() - began)

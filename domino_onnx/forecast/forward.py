"""How long does the model take for a sample? A batch or two through ONNX Runtime say it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset
from domino_onnx.options import Device
from domino_onnx.runtime import ChildSession

__all__ = ["seconds_per_sample"]

_A_RUN = 0.08
"""Seconds that a timed run may take: short enough that some run isn't held up by another program."""
_RUNS = 4
_ENOUGH = 0.3
"""Seconds after which no other run is timed."""


def seconds_per_sample(model: Path, data: Dataset, batch_size: int, *, device: Device, threads: int) -> float:
    """Of one forward pass, in batches as the run is going to make them: the best of a few runs.

    A first run of one sample tells how many samples a timed run may have. All take about a third of a second.

    Raises
    ------
    ModelError, DependencyError
        If ONNX Runtime can't run the model.
    """
    few, many = data.some(1), data.some(batch_size)
    with ChildSession(model, device=device, threads=threads) as session:
        one = _timed(session, data, few)
        count = len(many) if len(few) == len(many) else int(np.clip(_A_RUN / one, len(few), len(many)))
        best, spent = one / len(few), 0.0
        for _ in range(_RUNS):
            took = _timed(session, data, many[:count])
            best, spent = min(best, took / count), spent + took
            if spent > _ENOUGH:
                break
    return best


def _timed(session: ChildSession, data: Dataset, samples: NDArray[np.int64]) -> float:
    inputs = data.take(samples)
    start = time.perf_counter()
    session.run(inputs)
    return max(time.perf_counter() - start, 1e-9)

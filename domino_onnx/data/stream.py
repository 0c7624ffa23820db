"""Samples without end, for a training that can't learn them by heart."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.dataset import Dataset

__all__ = ["Stream"]

_AHEAD: Final = 4
"""How many times as many samples as are new in each batch there are for the first one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """Samples that are made when they are taken, of which any number is one.

    Batches are taken from a window over the numbers, which moves on with each of them. So each sample comes a few
    times, while it is in the window, and then never again. Which ones a batch has is decided by its number alone.

    Attributes
    ----------
    data
        Any number from 0 on is a sample of it. Those below its `count` are none of the batches'.
    window
        How many of the last samples batches are taken from.
    fresh
        How many samples are new in each batch.
    """

    data: Dataset
    window: int
    fresh: int

    def epoch(self, size: int) -> int:
        """How many batches of so many samples have as many as the window holds."""
        return max(self.window // size, 1)

    def seen(self, batch: int) -> NDArray[np.int64]:
        """The window at a batch, which count from 1: the newest samples last."""
        stop = self.data.count + self.fresh * (_AHEAD + max(batch, 1) - 1)
        return np.arange(max(stop - self.window, self.data.count), stop)

    def batch(self, number: int, size: int, seed: int) -> NDArray[np.int64]:
        """(size,) samples of batch `number`, which counts from 1: those that are new, and others of the window."""
        seen = self.seen(number)
        new = min(self.fresh, size, len(seen) - 1)
        older, newest = np.split(seen, [len(seen) - new])
        chosen = np.random.default_rng([seed, number]).choice(older, size - new, replace=size - new > len(older))
        return np.concatenate([chosen, newest])

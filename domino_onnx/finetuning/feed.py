"""What a student learns from: the same samples again and again, or samples without end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset, Split, Stream

__all__ = ["Feed", "feed_of"]

_Indices = NDArray[np.int64]


class Feed(Protocol):
    """Samples to learn from, and samples to judge by.

    Attributes
    ----------
    data
        All of them.
    train, held_out
        Indices into `data`: the samples of the first epoch, and those that judge.
    comes_again
        Whether samples do, so that it is worth keeping what the teacher says of them.
    """

    data: Dataset
    train: _Indices
    held_out: _Indices
    comes_again: bool

    def among(self, batch: int) -> _Indices:
        """The samples that those of a batch may be mixed with. Batches count from 1."""

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        """Batches of `size` training samples without end, which the seed decides."""

    def epoch(self, size: int) -> int:
        """How many batches see each sample that there is at a time once."""


def feed_of(split: Split) -> Feed:
    """The split's stream where it has one, else its samples."""
    return _Rounds(split) if split.stream is None else _Endless(split.stream)


class _Rounds:
    """All samples in a new order, each epoch."""

    comes_again = True

    def __init__(self, split: Split) -> None:
        self.data, self.train, self.held_out = split.fit, split.train, split.held_out

    def among(self, _batch: int, /) -> _Indices:
        return self.train

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        generator = np.random.default_rng(seed)
        while True:
            order = generator.permutation(self.train)
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]

    def epoch(self, size: int) -> int:
        return len(self.train) // size


class _Endless:
    """A window over a stream."""

    comes_again = False

    def __init__(self, stream: Stream) -> None:
        self.data, self.train, self.held_out = stream.data, stream.seen(1), stream.held_out
        self._stream = stream

    def among(self, batch: int) -> _Indices:
        return self._stream.seen(batch)

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        return self._stream.batches(size, seed)

    def epoch(self, size: int) -> int:
        return self._stream.epoch(size)

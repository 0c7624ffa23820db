"""What a student learns from: the same samples again and again, samples without end, or half of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.dataset import Dataset
from domino_onnx.data.joined import joined
from domino_onnx.data.split import Split
from domino_onnx.data.stream import Stream

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
        Whether all samples do, so that it is worth keeping what the teacher says of them.
    made_first, made_each
        How many samples are made before the first batch, and for each batch.
    """

    data: Dataset
    train: _Indices
    held_out: _Indices
    comes_again: bool
    made_first: int
    made_each: int

    def among(self, batch: int) -> _Indices:
        """The samples that those of a batch may be mixed with. Batches count from 1."""

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        """Batches of `size` training samples without end, which the seed decides."""

    def epoch(self, size: int) -> int:
        """How many batches see each sample that there is at a time once."""


def feed_of(split: Split) -> Feed:
    """The split's samples, its stream, or both where the stream fills up what the samples lack."""
    if split.joining is not None:
        return _FilledUp(split, split.joining)
    return _Rounds(split) if split.stream is None else _Endless(split.stream)


class _Rounds:
    """All samples in a new order, each epoch."""

    comes_again = True
    made_first = made_each = 0

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
    """A window over a stream, whose first samples judge."""

    comes_again = False

    def __init__(self, stream: Stream) -> None:
        self.data, self.train, self.held_out = stream.data, stream.seen(1), np.arange(stream.data.count)
        self.made_first, self.made_each = len(self.held_out) + len(self.train), stream.fresh
        self._stream = stream

    def among(self, batch: int) -> _Indices:
        return self._stream.seen(batch)

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        return (self._stream.batch(number, size, seed) for number in itertools.count(1))

    def epoch(self, size: int) -> int:
        return self._stream.epoch(size)


class _FilledUp:
    """A few samples, of which half of each batch is, and a window over a stream. The samples alone judge."""

    comes_again = False

    def __init__(self, split: Split, stream: Stream) -> None:
        self.data, self.held_out = joined(split.fit, stream.data), split.held_out
        self.made_first, self.made_each = len(stream.seen(1)), stream.fresh
        self._few, self._first, self._stream = split.train, split.fit.count, stream
        self.train = self.among(1)

    def among(self, batch: int) -> _Indices:
        return np.concatenate([self._few, self._first + self._stream.seen(batch)])

    def batches(self, size: int, seed: int) -> Iterator[_Indices]:
        for number in itertools.count(1):
            count = (size + number % 2) // 2  # of an odd size one more in every other batch
            again = np.random.default_rng([seed, number]).choice(self._few, count, replace=count > len(self._few))
            yield np.concatenate([again, self._first + self._stream.batch(number, size - count, seed)])

    def epoch(self, size: int) -> int:
        return self._stream.epoch(size)

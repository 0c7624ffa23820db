"""Which samples teach and which judge: all rules about it are in this file.

A `Split` is made once, when the data are read. The refit and the search walk through all samples that teach, batch by
batch. The functions at the end say which of their batches judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.dataset import Dataset
from domino_onnx.data.stream import Stream
from domino_onnx.errors import DataError

__all__ = ["BatchSplit", "Split", "has_judges", "refit_judges", "search_judges"]

_HELD_OUT = 0.15
_MOST_HELD_OUT = 512
"""Share of the samples that finetuning doesn't learn from, and the most of them: it looks at them again and again."""
_APART_TO_COMPARE = 0.25
"""Share of the samples that nothing learns from, where plans are compared and there are no evaluation data."""
_APART = 0.125
_FEWEST_APART = 16
_MOST_APART = 512
"""The same for other runs: fewer than 16 samples tell too little to be taken from the refit."""
_ENOUGH_BATCHES = 4
"""From this many batches on, the refit and the search hold some out."""
_REFIT_JUDGE_EVERY = 4
_SEARCH_JUDGES = 3
"""At most a third of the batches judge in the search."""

_Indices = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchSplit:
    """Batches of which each has training samples alone, or held-out samples alone.

    Attributes
    ----------
    samples
        The sample indices of each batch.
    train, held_out
        Places in `samples`. They are the same where nothing is held out.
    """

    samples: tuple[_Indices, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]

    def thinned(self, most: int) -> BatchSplit:
        """About `most` of the batches, evenly from all over each part, and at least one of each part."""
        if most >= len(self.samples):
            return self
        if self.train == self.held_out:
            return _batch_split(_evenly(self.samples, max(most, 1)), ())
        judges = max(round(most * len(self.held_out) / len(self.samples)), 1)
        train = _evenly([self.samples[place] for place in self.train], max(most - judges, 1))
        return _batch_split(train, _evenly([self.samples[place] for place in self.held_out], judges))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The samples of one run of the program.

    Attributes
    ----------
    fit
        What is learned from.
    train, held_out
        Indices into `fit`, int64: what finetuning learns from, and what decides which state it keeps. Both have all
        samples where there are too few for two parts.
    apart
        Samples that nothing learns from, where there are any: evaluation data, or a part that was set apart.
    filled
        The same and drawn samples, for the search and the refit; None where `fit` has enough, or without those two.
    stream
        Samples that are made as they are taken, for the finetuning of a whole model: it learns from them and is judged
        by them in place of `train` and `held_out` (`feed_of`).
    joining
        The same, where finetuning learns from them and from `train`, and `held_out` judges.
    """

    fit: Dataset
    train: _Indices
    held_out: _Indices
    apart: Dataset | None
    filled: Dataset | None = None
    stream: Stream | None = None
    joining: Stream | None = None

    @classmethod
    def of(
        cls,
        data: Dataset,
        *,
        evaluation: Dataset | None,
        judged: bool = False,
        seed: int,
        stream: Stream | None = None,
    ) -> Split:
        """Split the data of a run.

        Parameters
        ----------
        data
            What `--data` gives.
        evaluation
            What `--eval-data` gives: these samples judge.
        judged
            Whether plans are compared, so that a part must be kept apart without `evaluation`. Else some are kept apart
            if there are enough.
        seed
            Decides the order in which samples are drawn.
        stream
            Samples without end, where there are any.

        Raises
        ------
        DataError
            If some must be kept apart and there are too few.
        """
        fit, judge = data, evaluation
        if evaluation is None:
            fit, judge = _kept_apart(data, seed, judged=judged)
        train, held_out = _train_and_held_out(fit, seed)
        return cls(
            fit=fit,
            train=train,
            held_out=held_out,
            apart=judge,
            stream=stream,
        )

    def judge(self, *, refitted: bool, finetuned: bool) -> tuple[Dataset, bool]:
        """The samples that judge a written file, and whether its weights were fitted to them.

        Samples that were kept apart judge where there are any. Else those that finetuning held out do, and without
        finetuning all.
        """
        if self.apart is not None:
            return self.apart, False
        data = self.fit.subset(self.held_out) if finetuned else self.fit
        return data, refitted or (finetuned and not self.holds_out)

    @property
    def learned(self) -> Dataset:
        """What the search and the refit learn from."""
        return self.fit if self.filled is None else self.filled

    @property
    def holds_out(self) -> bool:
        """Whether finetuning is judged by other samples than it learns from."""
        return len(self.train) < self.fit.count

    def batches(self, size: int) -> BatchSplit:
        """All batches of up to `size` samples, for a training that runs each batch as a whole."""
        train = tuple(self.fit.chunks(self.train, size))
        return _batch_split(train, tuple(self.fit.chunks(self.held_out, size)) if self.holds_out else ())


def has_judges(batches: int) -> bool:
    """Whether there are enough batches that some can judge and the others teach."""
    return batches >= _ENOUGH_BATCHES


def refit_judges(batches: int) -> frozenset[int]:
    """The batches that choose the refit's damping: every fourth; none where there are too few."""
    return frozenset(range(_REFIT_JUDGE_EVERY - 1, batches, _REFIT_JUDGE_EVERY)) if has_judges(batches) else frozenset()


def search_judges(batches: int, wanted: int) -> tuple[int, ...]:
    """The batches that the search measures losses on: up to `wanted`, evenly from all over the data, at least one.

    They are at most a third of all where some teach and others judge (`has_judges`). Else all may be taken.
    """
    most = batches // _SEARCH_JUDGES if has_judges(batches) else batches
    count = max(min(wanted, most), 1)
    every = batches / count
    return tuple(int(every * (place + 0.5)) for place in range(count))


def _kept_apart(data: Dataset, seed: int, *, judged: bool) -> tuple[Dataset, Dataset | None]:
    """Samples that teach, and samples that judge, if there are enough for both."""
    count = round(data.count * _APART_TO_COMPARE) if judged else min(round(data.count * _APART), _MOST_APART)
    if data.batch:
        count = count // data.batch * data.batch
    if not judged and count < _FEWEST_APART:
        return data, None
    if not 0 < count < data.count - max(data.batch or 1, 1):
        raise DataError(f"too few samples ({data.count}) to set some apart to judge by: give more, or --eval-data")
    order = np.random.default_rng(seed).permutation(data.count)
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count]))


def _train_and_held_out(data: Dataset, seed: int) -> tuple[_Indices, _Indices]:
    """Indices of the samples to train on and of those held out; all in both where there are too few for two parts."""
    order = np.random.default_rng(seed).permutation(data.count)
    count = min(round(data.count * _HELD_OUT), _MOST_HELD_OUT)
    if data.batch:
        count = -(-count // data.batch) * data.batch
    if not 0 < count <= data.count - max(data.batch or 1, count):
        return order, order
    return order[count:], np.sort(order[:count])


def _batch_split(train: Sequence[_Indices], held_out: Sequence[_Indices]) -> BatchSplit:
    """The batches in one row; without any held out, those that teach judge too."""
    places = tuple(range(len(train)))
    judges = tuple(range(len(train), len(train) + len(held_out)))
    return BatchSplit(samples=(*train, *held_out), train=places, held_out=judges or places)


def _evenly(batches: Sequence[_Indices], most: int) -> tuple[_Indices, ...]:
    """Up to `most` of the batches, from all over the row."""
    chosen = min(most, len(batches))
    return tuple(batches[place * len(batches) // chosen] for place in range(chosen))

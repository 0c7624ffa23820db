"""What is learned from: samples again and again, samples without end, or half of each."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.data import Dataset, Split, Stream, feed_of


class Endless:
    """Samples of which number `n` is 1000 + n; none of them is counted."""

    shape = (0,)
    dtype = np.dtype(np.int64)

    def __len__(self) -> int:
        return 0

    def __getitem__(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return 1000 + indices


def dataset(samples: Any) -> Dataset:
    return Dataset(arrays={"x": samples}, constant={}, labels=None)


def filled_up(count: int, fresh: int = 4) -> Split:
    """Samples 0 to `count`, and a stream of numbers from 1000 on."""
    real = dataset(np.arange(count))
    split = Split.of(real, evaluation=None, seed=0)
    stream = Stream(data=dataset(Endless()), window=64, fresh=fresh)
    return dataclasses.replace(split, joining=stream)


@given(count=st.integers(2, 60), size=st.integers(1, 40), seed=st.integers(0, 9))
def test_half_of_each_batch_is_real_and_no_judge_is(count: int, size: int, seed: int) -> None:
    split = filled_up(count)
    feed = feed_of(split)
    batches = list(itertools.islice(feed.batches(size, seed), 8))
    judges = set(split.held_out.tolist()) if split.holds_out else set()
    for number, batch in enumerate(batches, start=1):
        values = feed.data.take(batch)["x"]
        real = values[values < 1000]
        assert len(values) == size
        assert abs(2 * len(real) - size) <= 1
        assert judges.isdisjoint(real.tolist())
        assert set(batch.tolist()) <= set(feed.among(number).tolist())
    real_ones = sum(int((feed.data.take(batch)["x"] < 1000).sum()) for batch in batches)
    assert 2 * real_ones == 8 * size  # of eight batches: half of all samples
    again = list(itertools.islice(feed.batches(size, seed), 8))
    np.testing.assert_array_equal(batches, again)


def test_the_real_samples_alone_judge() -> None:
    split = filled_up(40)
    feed = feed_of(split)
    np.testing.assert_array_equal(feed.data.take(feed.held_out)["x"], split.fit.take(split.held_out)["x"])


@pytest.mark.parametrize("fresh", [1, 4])
def test_what_is_made_is_what_batches_reach(fresh: int) -> None:
    """The forecast counts on it."""
    feed = feed_of(filled_up(40, fresh))
    reached = [int(feed.among(number).max()) - 40 + 1 for number in (1, 2, 11)]
    assert reached == [feed.made_first, feed.made_first + fresh, feed.made_first + 10 * fresh]
    assert feed.made_each == fresh


def test_enough_samples_come_again_and_again() -> None:
    split = Split.of(dataset(np.arange(40)), evaluation=None, seed=0)
    feed = feed_of(split)
    first = np.concatenate(list(itertools.islice(feed.batches(len(split.train) // 2, 0), 2)))
    assert sorted(first.tolist()) == sorted(split.train.tolist())
    assert (feed.comes_again, feed.made_first, feed.made_each) == (True, 0, 0)

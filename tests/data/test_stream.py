"""Samples without end: a window that moves on, and judges that are never learned from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.data import Dataset, Stream


def numbered(judges: int, window: int, fresh: int) -> Stream:
    data = Dataset(arrays={"x": np.arange(judges)}, constant={}, labels=None)
    return Stream(data=data, window=window, fresh=fresh)


@given(
    judges=st.integers(1, 40),
    window=st.integers(1, 60),
    fresh=st.integers(1, 12),
    size=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_batches_come_from_the_window_and_never_hold_a_judge(
    judges: int, window: int, fresh: int, size: int, seed: int
) -> None:
    stream, newest = numbered(judges, window, fresh), -1
    batches = [stream.batch(number, size, seed) for number in range(1, 31)]
    for number, batch in enumerate(batches, start=1):
        seen = stream.seen(number)
        assert len(batch) == size
        assert set(batch.tolist()) <= set(seen.tolist())
        assert min(batch.tolist()) >= judges
        assert len(seen) <= stream.window
        new = min(fresh, size, len(seen) - 1)
        assert set(seen[len(seen) - new :].tolist()) <= set(batch.tolist())
        assert seen[-1] - newest == fresh or newest == -1
        newest = int(seen[-1])
    again = [stream.batch(number, size, seed) for number in range(1, 31)]
    np.testing.assert_array_equal(batches, again)


def test_a_batch_of_nothing_is_empty() -> None:
    assert numbered(16, window=100, fresh=8).batch(1, 0, 0).size == 0


def test_an_epoch_has_as_many_samples_as_the_window() -> None:
    assert numbered(16, window=100, fresh=8).epoch(32) == 3
    assert numbered(16, window=100, fresh=8).epoch(256) == 1

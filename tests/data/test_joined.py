"""Several datasets as one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.data import Dataset, joined


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_samples_are_those_of_the_parts_in_order(counts: list[int], data: st.DataObject) -> None:
    arrays = [np.random.default_rng(place).standard_normal((count, 2)) for place, count in enumerate(counts)]
    parts = [Dataset(arrays={"x": each}, constant={}, labels=np.zeros(len(each), np.int64)) for each in arrays]
    together, plain = joined(*parts), np.concatenate(arrays)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(plain) - 1), min_size=1, max_size=20)))
    np.testing.assert_array_equal(together.take(chosen)["x"], plain[chosen])
    assert together.count == len(plain) == together.arrays["x"].shape[0]
    assert together.labels is None

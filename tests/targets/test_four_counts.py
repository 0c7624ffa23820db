"""FourCounts of a weight, against loops."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import magnitude_mask
from domino_onnx.targets import count_fours, legal_energy, obeys_flattened, obeys_on_axis

from .conftest import offences as loops

RNG = np.random.default_rng(5)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    density=st.sampled_from([0.2, 0.5, 0.8]),
    data=st.data(),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_counts_and_first_offence_agree_with_loops(shape: tuple[int, ...], density: float, data: Any) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    weight = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(shape)
    weight[np.random.default_rng(7).random(shape) > density] = -0.0
    found, expected = count_fours(weight, WeightLayout(shape, axis)), loops(weight, axis)
    rows = weight.size // shape[axis]
    assert found.count == rows * -(-shape[axis] // 4)
    assert found.broken == len(expected)
    assert found.first == (expected[0] if expected else None)
    assert found.is_legal == (not expected)
    assert found.zeros == int((weight == 0).sum())


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int8])
def test_every_dtype_is_read(dtype: Any) -> None:
    weight = np.array([[1, 1, 1, 0, 0, 0, 0, 1]], dtype)
    found = count_fours(weight, WeightLayout((1, 8), 1))
    assert (found.count, found.broken, found.first, found.zeros) == (2, 1, (0, 0), 4)
    assert found.broken_share == 0.5


def test_the_energy_that_two_of_four_hold() -> None:
    weight = np.array([[3.0, -2.0, 1.0, 0.5, 4.0, 0.0]], np.float32)  # the last two are a four of their own
    held, whole = legal_energy(weight, WeightLayout((1, 6), 1))
    assert held == pytest.approx(9 + 4 + 16)
    assert whole == pytest.approx(9 + 4 + 1 + 0.25 + 16)


def test_groups_on_flattened_channels_and_kernel_are_recognised() -> None:
    weight = RNG.standard_normal((8, 16, 3, 3)).astype(np.float32)
    flat = WeightLayout((8, 144), 1)
    mask = magnitude_mask(weight.reshape(8, 144), flat, NMScheme(2, 4)).reshape(weight.shape)
    layout = WeightLayout.conv(weight.shape)
    assert obeys_flattened(weight * mask, layout)
    assert not count_fours(weight * mask, layout).is_legal
    assert not obeys_flattened(weight, layout)
    assert not obeys_flattened(np.zeros((8, 16, 1, 1)), WeightLayout.conv((8, 16, 1, 1)))  # no different there


def test_groups_along_the_batch_of_a_matmul_constant_are_recognised() -> None:
    weight = RNG.standard_normal((4, 16, 16)).astype(np.float32)
    wrong = WeightLayout(weight.shape, 0)
    pruned = weight * magnitude_mask(weight, wrong, NMScheme(2, 4))
    layout = WeightLayout.matrix(weight.shape, left=False)
    assert obeys_on_axis(pruned, layout) == 0
    assert obeys_on_axis(weight, layout) is None
    assert obeys_on_axis(weight * magnitude_mask(weight, layout, NMScheme(2, 4)), layout) is None


@pytest.mark.parametrize("size", [1e20, 1e-30])
def test_squares_beyond_float32_are_summed(size: float) -> None:
    weight = (np.arange(1, 33, dtype=np.float32) * np.float32(size)).reshape(8, 4)
    held, whole = legal_energy(weight, WeightLayout((8, 4), 1))
    numbers = np.arange(1, 33, dtype=float).reshape(8, 4)
    assert held / whole == pytest.approx((numbers[:, 2:] ** 2).sum() / (numbers**2).sum())

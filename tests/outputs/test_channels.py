"""Channels and their spreads: numpy is the oracle."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.outputs.channels import ChannelErrors, ChannelMoments, channel_axis, rows_along, scales

Array = np.ndarray[Any, np.dtype[Any]]


def moments(*parts: Array) -> ChannelMoments:
    first, *others = map(ChannelMoments.of, parts)
    return sum(others, start=first)


@given(arrays.arrays(np.float32, (9, 3), elements=st.floats(-100, 100, width=32)), st.integers(0, 9), st.integers(0, 9))
def test_moments_of_batches_are_those_of_all(values: Array, first: int, second: int) -> None:
    low, high = sorted((first, second))
    found = moments(values[:low], values[low:high], values[high:])
    wide = values.astype(np.float64)
    assert found.variances == pytest.approx(wide.var(axis=0), rel=1e-6, abs=1e-6)
    assert found.means == pytest.approx(wide.mean(axis=0), rel=1e-6, abs=1e-6)
    assert (found.lows == wide.min(axis=0)).all()
    assert (found.highs == wide.max(axis=0)).all()


def test_what_is_not_finite_is_left_out() -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0], [np.inf, 6.0]])
    found = moments(values)
    assert found.counts.tolist() == [2, 2]
    assert found.variances.tolist() == [1, 1]
    assert moments(np.full((2, 1), np.nan)).variances.tolist() == [0]


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 5, 3, 4)), (3, (2, 3, 4, 5)), (0, (5, 2)), (2, (7, 1, 5))])
def test_rows_keep_each_channel_in_its_column(axis: int, shape: tuple[int, ...]) -> None:
    output = np.moveaxis(np.broadcast_to(np.arange(5), (*[s for i, s in enumerate(shape) if i != axis], 5)), -1, axis)
    assert output.shape == shape
    assert (rows_along(output, axis) == np.arange(5)).all()
    assert rows_along(output, None).shape == (output.size, 1)


def chosen(output: Array) -> int | None:
    axes = (None, *range(1, output.ndim))
    return channel_axis({axis: ChannelMoments.of(rows_along(output, axis)) for axis in axes})


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("what", ["means", "spreads"])
def test_the_axis_is_the_one_along_which_values_differ(axis: int, what: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 6, 6, 6))
    own = np.moveaxis(np.arange(1.0, 7).reshape(1, 1, 1, 6), -1, axis)
    assert chosen(values + 3 * own if what == "means" else values * own) == axis
    assert chosen(values) is None


def test_each_channel_is_measured_by_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    deviations = np.array([90.0, 90.0, 50.0, 0.3, 0.02])
    values = 0.5 + deviations * rng.standard_normal((4000, 5))
    assert scales(moments(values)) == pytest.approx(deviations**2, rel=0.1)


def test_a_rare_class_counts_and_noise_does_not() -> None:
    """One share in 5,000 that is high is something to keep. Shares that never pass a thousandth are not."""
    values = np.zeros((10_000, 4))
    values[:5000, 0] = 0.9
    values[::5000, 1] = 0.9
    values[:, 2] = 1e-4 * np.random.default_rng(0).random(10_000)
    found = scales(moments(values))
    assert found[1] == pytest.approx(values[:, 1].var(), rel=1e-6)
    assert found[2] > 50 * values[:, 2].var()
    assert found[3] > 1e-6, "a channel that never changes counts like a typical one"


def test_one_score_beside_four_boxes_is_not_drowned() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(0, 320, (5000, 4)), (rng.random((5000, 1)) > 0.99) * 0.8], axis=1)
    assert scales(moments(values))[4] == pytest.approx(values[:, 4].var(), rel=1e-6)


def test_constant_outputs_can_be_divided_by() -> None:
    assert (scales(moments(np.full((8, 3), 7.0))) == 1).all()
    assert (scales(moments(np.full((8, 3), np.nan))) == 1).all()


def test_errors_are_summed_up_by_channel() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6, 3, 5))
    a[0, 0, 0] = -np.inf
    errors = ChannelErrors(1, np.array([1.0, 2.0, 4.0]))
    for some in (slice(0, 1), slice(1, 6)):
        errors.add(a[some], b[some])
    squares = np.where(np.isfinite(a), (a - b) ** 2, 0)
    wanted = squares.sum(axis=(0, 2)) / np.isfinite(a).sum(axis=(0, 2)) / np.array([1, 2, 4])
    assert errors.relative() == pytest.approx(wanted)


def test_outputs_of_another_width_are_one_channel() -> None:
    """A sequence of another length, where the data had one length and its places looked like channels."""
    errors = ChannelErrors(1, np.array([1.0, 3.0]))
    errors.add(np.zeros((5, 4)), np.full((5, 4), 2.0))
    assert errors.relative() == pytest.approx([2.0, 2.0])  # 4 over the mean scale, 2
    errors.add(np.zeros((20, 2)), np.zeros((20, 2)))
    assert errors.relative() == pytest.approx([1.0, 1.0])  # as many values again that are right

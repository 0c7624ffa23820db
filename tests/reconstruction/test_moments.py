"""Second moments, against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.positions import Positions

Array = np.ndarray[Any, np.dtype[Any]]
NAMES = ("xx", "x", "yx", "y", "yy")


def drawn(positions: int, *, offset: float = 0.0, scale: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """(2 blocks, positions, 6 features) that go together, and (2, positions, 3) outputs."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((2, positions, 6)) @ rng.standard_normal((2, 6, 6))
    wanted = mixed @ rng.standard_normal((2, 6, 3)) + rng.standard_normal((2, positions, 3))
    return (scale * mixed + offset).astype(np.float32), (scale * wanted - offset).astype(np.float32)


def gathered(features: Array, wanted: Array) -> Moments:
    moments = Moments.empty(features.shape[0], wanted.shape[2], features.shape[2])
    moments.add(features, wanted)
    return moments


def by_numpy(features: Array, wanted: Array) -> dict[str, Array]:
    x, y = features.astype(np.float64), wanted.astype(np.float64)
    return {
        "xx": np.einsum("bpi,bpj->bij", x, x),
        "x": x.sum(axis=1),
        "yx": np.einsum("bpo,bpi->boi", y, x),
        "y": y.sum(axis=1),
        "yy": (y**2).sum(axis=1),
    }


@pytest.mark.parametrize("positions", [0, 1, 8191, 8192, 8193, 20_000])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_sums_over_all_positions(positions: int, offset: float) -> None:
    features, wanted = drawn(positions, offset=offset)
    moments = gathered(features, wanted)
    assert moments.count == positions
    for name, expected in by_numpy(features, wanted).items():
        got = getattr(moments, name)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(initial=1e-9))


@pytest.mark.parametrize(("offset", "scale"), [(1000.0, 75.0), (1000.0, 1.0), (-1e4, 3.0)])
def test_what_is_centred_stays_exact_where_means_are_large(offset: float, scale: float) -> None:
    features, wanted = drawn(20_000, offset=offset, scale=scale)
    moments = gathered(features, wanted)
    for block in range(2):
        x, y = features[block].astype(np.float64), wanted[block].astype(np.float64)
        exact = np.cov(np.concatenate([x, y], axis=1).T, bias=True)
        x_mean, y_mean = moments.x[block] / moments.count, moments.y[block] / moments.count
        hessian = moments.xx[block] / moments.count - np.outer(x_mean, x_mean)
        target = moments.yx[block] / moments.count - np.outer(y_mean, x_mean)
        spread = moments.yy[block] / moments.count - y_mean**2
        np.testing.assert_allclose(hessian, exact[:6, :6], atol=1e-5 * np.abs(exact).max(), rtol=0)
        np.testing.assert_allclose(target, exact[6:, :6], atol=1e-5 * np.abs(exact).max(), rtol=0)
        np.testing.assert_allclose(spread, np.diagonal(exact)[6:], rtol=1e-5)


def test_a_drifting_mean_is_no_trouble_either() -> None:
    parts = [drawn(3000, offset=1000.0 + 100.0 * part, seed=part) for part in range(4)]
    moments = Moments.empty(2, 3, 6)
    for features, wanted in parts:
        moments.add(features, wanted)
    together = [np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)]
    exact = np.cov(together[0][0].astype(np.float64).T, bias=True)
    mean = moments.x[0] / moments.count
    np.testing.assert_allclose(moments.xx[0] / moments.count - np.outer(mean, mean), exact, rtol=1e-5)


def test_batches_add_up() -> None:
    first, second = drawn(100, seed=1), drawn(50, seed=2)
    both = gathered(*(np.concatenate(arrays, axis=1) for arrays in zip(first, second, strict=True)))
    added = gathered(*first) + gathered(*second)
    one_by_one = gathered(*first)
    one_by_one.add(*second)
    assert added.count == one_by_one.count == both.count == 150
    for name in NAMES:
        np.testing.assert_array_equal(getattr(added, name), getattr(one_by_one, name))
        np.testing.assert_allclose(getattr(added, name), getattr(both, name), rtol=1e-4, atol=1e-3)


def test_half_precision_does_not_overflow() -> None:
    features, wanted = (array.astype(np.float16) for array in drawn(10_000, offset=200.0))
    expected = by_numpy(features, wanted)
    moments = gathered(features, wanted)
    for name in NAMES:
        np.testing.assert_allclose(getattr(moments, name), expected[name], rtol=1e-5)


@pytest.mark.parametrize("form", [Moments, Positions])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_finite_are_left_out(form: type[Moments | Positions], bad: float) -> None:
    features, wanted = drawn(40)
    whole, without = (form.empty(2, 3, 6) for _ in range(2))
    without.add(np.delete(features, [3, 7], axis=1), np.delete(wanted, [3, 7], axis=1))
    features[1, 3, 2] = wanted[0, 7, 1] = bad
    whole.add(features, wanted)
    assert whole.count == 38
    for name in ("x", "y", "yy"):
        np.testing.assert_allclose(getattr(whole, name), getattr(without, name), rtol=1e-6, atol=1e-4)

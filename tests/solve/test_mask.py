"""Masks, against loops over the groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.scheme import NMScheme, Site, StoredNumbers, WeightKey, WeightLayout
from domino_onnx.solve import PrunedWeights, keep_largest, magnitude_mask, obeys
from domino_onnx.solve.mask import masked

DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def brute_mask(flat: list[float], groups: list[list[int]], n: int) -> list[bool]:
    kept = [False] * len(flat)
    for group in groups:
        for place in sorted(group, key=lambda index: (-abs(flat[index]), group.index(index)))[:n]:
            kept[place] = True
    return kept


@given(
    data=st.data(),
    m=st.sampled_from([2, 4, 8, 16]),
    rows=st.integers(1, 6),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_largest_are_kept_and_ties_go_left(data: st.DataObject, m: int, rows: int) -> None:
    n = data.draw(st.integers(1, m))
    groups = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=rows, max_size=rows)),
        np.float32,
    )
    kept = keep_largest(groups, NMScheme(n, groups.shape[1]))
    expected = [brute_mask(list(map(float, row)), [list(range(m))], n) for row in groups]
    assert kept.tolist() == expected


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8, np.int16])
def test_masked_is_where_bit_for_bit(dtype: Any) -> None:
    values = np.random.default_rng(0).standard_normal((6, 16)).astype(dtype)
    if not np.issubdtype(dtype, np.integer):
        values[0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    mask = np.random.default_rng(1).random(values.shape) < 0.5
    for part in (np.s_[:], np.s_[::2], np.s_[:, 1::3]):
        expected = np.where(mask[part], values[part], values.dtype.type(0))
        assert masked(values[part], mask[part]).tobytes() == expected.tobytes()
        assert masked(values[part], mask[part]).dtype == values.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis", "parts"),
    [((8, 16, 3, 3), 1, 1), ((16, 6), 0, 1), ((3, 5, 16), 2, 1), ((32, 4, 2), 0, 2), ((16,), 0, 1), ((2, 16, 3), 1, 1)],
)
def test_every_dtype_and_layout_keeps_exactly_n_of_m(
    dtype: Any,
    shape: tuple[int, ...],
    axis: int,
    parts: int,
    groups_of: Callable[..., list[list[int]]],
) -> None:
    weight = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    layout = WeightLayout(shape, axis, parts)
    for scheme in (NMScheme(1, 4), NMScheme(2, 4), NMScheme(3, 8), NMScheme(1, 16), NMScheme(16, 16)):
        mask = magnitude_mask(weight, layout, scheme)
        assert mask.shape == shape
        assert mask.dtype == np.bool_
        groups = groups_of(shape, axis, scheme.m, parts)
        flat = weight.astype(np.float64).reshape(-1).tolist()
        assert mask.reshape(-1).tolist() == brute_mask(flat, groups, scheme.n)


def test_signs_zeros_and_subnormals_are_compared_by_magnitude() -> None:
    weight = np.array([[-3.0, 2.0, -0.0, 0.0, 1e-45, -1e-40, 5.0, -5.0]], np.float32)
    mask = magnitude_mask(weight, WeightLayout((1, 8), 1), NMScheme(2, 4))
    assert mask.tolist() == [[True, True, False, False, False, False, True, True]]


def test_a_group_of_zeros_keeps_its_first_n() -> None:
    mask = magnitude_mask(np.zeros((2, 8), np.float32), WeightLayout((2, 8), 1), NMScheme(2, 8))
    assert mask.tolist() == [[True, True, *[False] * 6]] * 2


def test_obeys_counts_nonzeros_of_every_group() -> None:
    layout = WeightLayout((1, 8), 1)
    assert obeys(np.array([[1, 2, 0, 0, 0, -0.0, 0, 0]], np.float32), layout, NMScheme(2, 4))
    assert not obeys(np.array([[0, 0, 0, 0, 1, 1, 1, 0]], np.float32), layout, NMScheme(2, 4))
    # The same counts along the other axis would be fine: the groups are what the layout says.
    assert not obeys(np.ones((8, 1), np.float32), WeightLayout((8, 1), 0), NMScheme(2, 4))


def site(key: WeightKey, numbers: StoredNumbers) -> Site:
    layout, schemes = WeightLayout((4, 16), 1), (NMScheme(16, 16),)
    return Site(key=key, name="", op="Gemm", layout=layout, numbers=numbers, consumers=(), schemes=schemes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pruned_weights_keep_their_dtype_their_kept_bits_and_positive_zeros(dtype: Any) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 16)).astype(dtype)
    key, dense = WeightKey("w"), WeightKey("dense")
    schemes = {key: NMScheme(1, 4), dense: NMScheme(16, 16)}
    pruned = PrunedWeights(schemes, [site(key, StoredNumbers(weight.dtype.name)) for key in schemes], lambda _: weight)
    assert list(pruned) == [key]
    assert len(pruned) == 1
    values = pruned[key]
    assert values.dtype == weight.dtype
    zeros = values == 0
    assert np.count_nonzero(zeros) == 48
    assert not np.signbit(values[zeros].astype(np.float32)).any()
    assert values[~zeros].tobytes() == weight[~zeros].tobytes()

"""Sorting networks, beside numpy's sort; and masks of as many groups as go through one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import magnitude_mask
from domino_onnx.solve.network import fits_network, merged, sorted_columns


@pytest.mark.parametrize("rows", [2, 4, 8, 16, 32, 64])
def test_columns_are_sorted_as_numpy_does(rows: int) -> None:
    columns = np.random.default_rng(rows).integers(-9, 9, (rows, 300)).astype(np.float32)
    columns[0, :5] = -np.inf
    assert fits_network(rows)
    np.testing.assert_array_equal(sorted_columns(columns.copy()), np.sort(columns, axis=0))


@pytest.mark.parametrize("rising", range(17))
def test_what_rises_and_then_falls_is_sorted(rising: int) -> None:
    columns = np.random.default_rng(0).standard_normal((16, 50)).astype(np.float32)
    work = np.concatenate([np.sort(columns[:rising], axis=0), np.sort(columns[rising:], axis=0)[::-1]])
    np.testing.assert_array_equal(merged(work, np.empty_like(work), 8)[0], np.sort(columns, axis=0))


@pytest.mark.parametrize("rows", [1, 3, 12, 128])
def test_other_lengths_are_left_to_numpy(rows: int) -> None:
    assert not fits_network(rows)


@pytest.mark.parametrize("scheme", [NMScheme(2, 4), NMScheme(3, 16), NMScheme(16, 16), NMScheme(4, 16, True)])
@pytest.mark.parametrize(("shape", "axis", "parts"), [((640, 64), 0, 1), ((40, 1024), 1, 1), ((48, 64, 3, 3), 0, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_masks_of_thousands_of_groups(
    scheme: NMScheme, shape: tuple[int, ...], axis: int, parts: int, dtype: Any
) -> None:
    weight = np.round(np.random.default_rng(1).standard_normal(shape) * 16).astype(dtype)  # many ties
    layout = WeightLayout(shape, axis, parts)
    groups = layout.to_groups(np.abs(weight), scheme.m)
    if scheme.two_of_four:
        fours = groups.reshape(-1, 4).copy()
        np.put_along_axis(fours, np.argsort(-fours, axis=1, kind="stable")[:, 2:], -1, 1)
        groups = fours.reshape(groups.shape)
    expected = np.zeros(groups.shape, np.bool_)
    np.put_along_axis(expected, np.argsort(-groups, axis=1, kind="stable")[:, : scheme.n], True, 1)
    mask = magnitude_mask(weight, layout, scheme)
    np.testing.assert_array_equal(layout.to_groups(mask, scheme.m), expected)

"""Dominance, against a comparison of every point with every other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.search.pareto import dominated

Point = tuple[int, int, int]


def slowly(points: list[Point]) -> list[bool]:
    return [
        any(
            all(a <= b for a, b in zip(other, point, strict=True)) and (other != point or before < index)
            for before, other in enumerate(points)
        )
        for index, point in enumerate(points)
    ]


def quickly(points: list[Point]) -> list[bool]:
    array = np.array(points, np.int64).reshape(-1, 3)
    return list(dominated(array[:, :2], array[:, 2]).tolist())


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_few_values_with_many_ties(points: list[Point]) -> None:
    assert quickly(points) == slowly(points)


@pytest.mark.parametrize("seed", range(3))
def test_many_points_far_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    spent = random.integers(0, 10**12, (300, 2))
    points = [(int(a), int(b), int(2 * 10**12 - a - b + random.integers(0, 10**11))) for a, b in spent]
    expected = slowly(points)
    assert quickly(points) == expected
    assert 0 < sum(expected) < 300

"""Stored numbers as floats and back, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.scheme import StoredNumbers


def rounded(value: float, scale: float, largest: int) -> int:
    """Python's own rounding goes to the even neighbour."""
    return max(-largest, min(largest, round(value / scale))) if scale else 0


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    st.floats(2**-10, 2**10, width=32),
    st.sampled_from([("int8", 127), ("int16", 32767)]),
)
def test_floats_become_the_nearest_integers(values: list[float], scale: float, kind: tuple[str, int]) -> None:
    name, largest = kind
    got = StoredNumbers(name, np.float32(scale).reshape(())).stored(np.array(values))
    assert got.dtype == name
    assert got.tolist() == [rounded(value, float(np.float32(scale)), largest) for value in values]


def test_halves_go_to_the_even_neighbour_and_nothing_becomes_minus_128() -> None:
    values = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9])
    assert StoredNumbers("int8", np.full((), 0.5, np.float32)).stored(values).tolist() == [0, 2, 2, 0, -2, 127, -127]


@pytest.mark.parametrize("name", ["int8", "int16"])
@given(st.lists(st.floats(2**-30, 2**30, width=32), min_size=3, max_size=3))
def test_what_is_stored_survives_being_read(name: str, scales: list[float]) -> None:
    largest = np.iinfo(name).max
    stored = np.tile(np.arange(-largest, largest + 1).astype(name), (3, 1))
    numbers = StoredNumbers(name, np.array(scales, np.float32).reshape(3, 1))
    assert np.array_equal(numbers.stored(numbers.floats(stored)), stored)


def test_a_channel_without_a_scale_stays_zero() -> None:
    numbers = StoredNumbers("int8", np.array([[0], [1]], np.float32))
    assert numbers.stored(np.ones((2, 2))).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stay_what_they_are(dtype: Any) -> None:
    values = np.array([0, -1.5, np.finfo(dtype).max], dtype)
    numbers = StoredNumbers(np.dtype(dtype).name)
    assert numbers.floats(values) is values
    assert np.array_equal(numbers.stored(values.astype(np.float64)), values)
    assert numbers.stored(np.array([np.inf])).tolist() == [np.finfo(dtype).max]


def test_grids_are_equal_if_their_numbers_are() -> None:
    one, same = (StoredNumbers("int8", np.full(shape, 0.5, np.float32)) for shape in ((), (4, 1)))
    assert one == same
    assert hash(one) == hash(same)
    assert one != StoredNumbers("int8", np.full((4, 1), 0.25, np.float32))
    assert one != StoredNumbers("int16", one.scale)
    assert StoredNumbers("float32") == StoredNumbers("float32") != one

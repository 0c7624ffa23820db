"""Schemes and pools."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import PlanError
from domino_onnx.scheme import NMScheme, SchemePool


def shown(schemes: tuple[NMScheme, ...]) -> list[str]:
    return [str(scheme) for scheme in schemes]


def test_the_pools_are_the_papers() -> None:
    assert shown(SchemePool.fixed_m().schemes) == ["16:16", "8:16", "4:16", "2:16", "1:16"]
    assert shown(SchemePool.fixed_n().schemes) == ["1:1", "1:2", "1:4", "1:8", "1:16"]
    assert shown(SchemePool.fixed_m(4).schemes) == ["4:4", "2:4", "1:4"]
    assert shown(SchemePool.single(NMScheme(2, 4)).schemes) == ["4:4", "2:4"]


@pytest.mark.parametrize("m", [-4, 0, 1, 2, 3, 6, 12, 15])
def test_m_must_be_a_power_of_two_of_at_least_four(m: int) -> None:
    for make in (SchemePool.fixed_m, SchemePool.fixed_n):
        with pytest.raises(PlanError, match="power of two"):
            make(m)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (16, ["16:16", "8:16", "4:16", "2:16", "1:16"]),
        (24, ["8:8", "4:8", "2:8", "1:8"]),
        (20, ["4:4", "2:4", "1:4"]),
        (4, ["4:4", "2:4", "1:4"]),
        (18, []),
        (3, []),
        (1, []),
        (0, []),
    ],
)
def test_indivisible_axes_get_the_densities_that_a_smaller_m_can_have(length: int, expected: list[str]) -> None:
    assert shown(SchemePool.fixed_m().for_reduction(length)) == expected


@given(
    st.sampled_from([SchemePool.fixed_m(m) for m in (4, 8, 16, 32)] + [SchemePool.fixed_n(m) for m in (4, 16, 32)]),
    st.integers(0, 200),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_schemes_of_an_axis_divide_it_and_come_densest_first(pool: SchemePool, length: int) -> None:
    schemes = pool.for_reduction(length)
    densities = [Fraction(scheme.n, scheme.m) for scheme in schemes]
    assert densities == sorted(set(densities), reverse=True)
    assert set(densities) <= {Fraction(scheme.n, scheme.m) for scheme in pool.schemes}
    for scheme in schemes:
        assert length % scheme.m == 0
        assert scheme.m <= max(other.m for other in pool.schemes)
    if schemes:
        assert densities[0] == 1
    assert bool(schemes) == (length > 0 and length % 4 == 0)


@pytest.mark.parametrize("text", ["2:4", " 2 : 4 "])
def test_schemes_are_read_as_they_are_written(text: str) -> None:
    assert NMScheme.parse(text) == NMScheme(2, 4)
    assert NMScheme.parse(str(NMScheme(2, 4))) == NMScheme(2, 4)


@pytest.mark.parametrize(
    "text", ["", "2", "2:", ":4", "0:4", "5:4", "-1:4", "2:4:8", "2/4", "a:b", "1e1:20", "9" * 9 + ":1"]
)
def test_impossible_schemes_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        NMScheme.parse(text)


@given(st.integers(0, 10**12), st.integers(1, 32), st.integers(1, 32))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_kept_is_rounded_up_exactly(amount: int, a: int, b: int) -> None:
    n, m = min(a, b), max(a, b)
    kept = NMScheme(n, m).kept(amount)
    assert kept * m >= amount * n > (kept - 1) * m

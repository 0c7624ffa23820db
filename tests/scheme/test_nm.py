"""Schemes and pools."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import PlanError
from domino_onnx.scheme import NMScheme, SchemePool


def shown(schemes: tuple[NMScheme, ...]) -> list[str]:
    return [str(scheme) for scheme in schemes]


def test_pools_are_read_as_they_are_written() -> None:
    assert SchemePool.parse("1:16,2:16,4:16,8:16") == SchemePool.fixed_m()
    assert SchemePool.parse("1:2,1:4,1:8,1:16") == SchemePool.fixed_n()
    assert SchemePool.parse("2:4") == SchemePool.single(NMScheme(2, 4))
    assert shown(SchemePool.parse(" 2:4, 1:4,2:16 ,4:8,2:4,8:8").schemes) == ["16:16", "2:4", "4:8", "1:4", "2:16"]
    assert shown(SchemePool.parse("3:12,1:3").including([NMScheme(3, 6)]).schemes) == ["12:12", "3:6", "1:3", "3:12"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2:4,4:2", "4:2 is impossible"),
        ("2:4,,1:4", "entry 2 of 3 in the pool '2:4,,1:4' is empty: put one comma between schemes"),
        ("2:4, ", "entry 2 of 2 in the pool '2:4, ' is empty"),
        ("2:4 1:4", "'2:4 1:4' is not an N:M scheme"),
        ("16", "'16' is not an N:M scheme; write for instance 2:4"),
        ("2:4;1:4", "'2:4;1:4' is not"),
        ("0:4", "0:4 is impossible"),
        ("", "entry 1 of 1 in the pool '' is empty"),
        ("4:4,16:16", "none of these schemes prunes anything"),
    ],
)
def test_pools_with_a_wrong_entry_name_it(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        SchemePool.parse(text)


def test_integers_of_numpy_are_integers() -> None:
    assert repr(NMScheme(np.int64(2), np.uint8(4))) == repr(NMScheme(2, 4))


def test_schemes_of_one_density_are_rivals() -> None:
    pool = SchemePool.parse("2:4,1:4,8:16,4:8,3:12,1:3")
    assert [shown(schemes) for schemes in pool.same_density] == [["2:4", "4:8", "8:16"], ["1:4", "3:12"]]
    assert SchemePool.fixed_m().same_density == SchemePool.fixed_n().same_density == ()
    assert SchemePool.fixed_m().including([NMScheme(4, 4)]).same_density == ()


@given(
    schemes=st.lists(
        st.integers(2, 40).flatmap(lambda m: st.builds(NMScheme, st.integers(1, m - 1), st.just(m))), min_size=1
    ),
    length=st.integers(1, 200),
)
def test_an_axis_stays_dense_exactly_if_no_group_size_divides_it(schemes: list[NMScheme], length: int) -> None:
    pool = SchemePool.of(schemes)
    assert bool(pool.for_reduction(length)) == any(length % size == 0 for size in pool.group_sizes)


def test_group_sizes_are_those_that_keep_a_density() -> None:
    assert SchemePool.fixed_m().group_sizes == (4, 8, 16)
    assert SchemePool.parse("1:16").group_sizes == (16,)
    assert SchemePool.parse("1:3,2:4,6:16").group_sizes == (3, 4, 8, 16)


def test_the_pools_are_the_papers() -> None:
    assert shown(SchemePool.fixed_m().schemes) == ["16:16", "8:16", "4:16", "2:16", "1:16"]
    assert shown(SchemePool.fixed_n().schemes) == ["16:16", "1:2", "1:4", "1:8", "1:16"]
    assert shown(SchemePool.fixed_m(4).schemes) == ["4:4", "2:4", "1:4"]
    assert shown(SchemePool.single(NMScheme(2, 4)).schemes) == ["4:4", "2:4"]


def test_what_a_message_repeats_of_a_long_entry_is_short() -> None:
    for text in ("9" * 10_000, "2:4,," + "1:4," * 5_000):
        with pytest.raises(PlanError) as refused:
            SchemePool.parse(text)
        assert len(str(refused.value)) < 300


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


@pytest.mark.parametrize(
    ("pool", "length", "expected"),
    [
        ("2:4,1:4,2:16,4:8", 32, ["16:16", "4:8", "1:4", "2:16"]),  # 4:8 constrains less than 2:4
        ("2:4,1:4,2:16,4:8", 24, ["8:8", "4:8", "1:4", "1:8"]),
        ("2:4,1:4,2:16,4:8", 20, ["4:4", "2:4", "1:4"]),  # an eighth of 4 weights is no whole number
        ("2:4,8:16", 24, ["8:8", "2:4"]),  # what is named comes before what is carried over (4:8)
        ("3:12,6:12", 24, ["12:12", "6:12", "3:12"]),
        ("3:12,6:12", 16, ["8:8", "4:8", "2:8"]),
        ("5:10,6:12", 10, ["1:1", "5:10"]),
        ("1:3,2:16", 9, ["1:1", "1:3"]),
        ("1:3", 16, []),  # no power of two holds thirds
        ("1:16", 24, []),
        ("1:2", 6, ["2:2", "1:2"]),
    ],
)
def test_mixed_pools_give_what_divides_the_axis(pool: str, length: int, expected: list[str]) -> None:
    assert shown(SchemePool.parse(pool).for_reduction(length)) == expected


pools = st.one_of(
    st.sampled_from([SchemePool.fixed_m(m) for m in (4, 8, 16, 32)] + [SchemePool.fixed_n(m) for m in (4, 16, 32)]),
    st.lists(
        st.integers(2, 33).flatmap(lambda m: st.builds(NMScheme, st.integers(1, m - 1), st.just(m))),
        min_size=1,
        max_size=6,
    ).map(SchemePool.of),
)


@given(pools, st.integers(0, 200))
@settings(deadline=None, derandomize=True, max_examples=400)
def test_an_axis_gets_the_schemes_that_trying_them_all_gives(pool: SchemePool, length: int) -> None:
    expected: dict[Fraction, tuple[int, int]] = {}
    for scheme in pool.schemes:
        density = Fraction(scheme.n, scheme.m)
        named = [s.m for s in pool.schemes if Fraction(s.n, s.m) == density and length and length % s.m == 0]
        powers = [m for m in (4, 8, 16, 32) if m < scheme.m and length and length % m == 0]
        carried = [m for m in powers if (density * m).denominator == 1]
        if named:
            expected[density] = (int(density * max(named)), max(named))
        elif carried:
            m = max(carried)
            expected[density] = max(expected.get(density, (0, 0)), (int(density * m), m))
    sparse = {density for density in expected if density < 1}
    schemes = pool.for_reduction(length)
    assert bool(schemes) == bool(sparse)
    if schemes:
        expected.setdefault(Fraction(1), (1, 1))
        assert [(scheme.n, scheme.m) for scheme in schemes] == [expected[d] for d in sorted(expected, reverse=True)]


@given(st.sampled_from([4, 8, 16, 32]), st.integers(0, 200))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_an_axis_that_four_divides_can_be_pruned_with_any_of_the_papers_pools(m: int, length: int) -> None:
    assert bool(SchemePool.fixed_m(m).for_reduction(length)) == (length > 0 and length % 4 == 0)
    assert bool(SchemePool.fixed_n(m).for_reduction(length)) == (length > 0 and length % 2 == 0)


@pytest.mark.parametrize("schemes", [(), (NMScheme(1, 1),), (NMScheme(4, 4), NMScheme(16, 16))])
def test_a_pool_that_prunes_nothing_is_refused(schemes: tuple[NMScheme, ...]) -> None:
    for make in (SchemePool, SchemePool.of):
        with pytest.raises(PlanError, match="none of these schemes prunes anything"):
            make(schemes)


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

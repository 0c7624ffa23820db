"""What sparse kernels can take, and which schemes are legal: against every mask there is."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import PlanError
from domino_onnx.scheme import Inventory, NMScheme, WeightKey, WeightLayout
from domino_onnx.targets import inventory_for, legal_scheme, refusal, require_legal, schemes_for


def worst_four(n: int, m: int) -> int:
    """The most that an aligned four keeps under N:M alone, by filling each four as far as its groups let it."""
    worst = 0
    for start in range(0, math.lcm(m, 4), 4):
        kept = 0
        used: dict[int, int] = {}
        for place in range(start, start + 4):
            if used.get(place // m, 0) < n:
                used[place // m] = used.get(place // m, 0) + 1
                kept += 1
        worst = max(worst, kept)
    return worst


@given(m=st.integers(1, 40), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=300)
def test_legal_schemes_keep_the_density_and_are_legal(m: int, data: Any) -> None:
    n = data.draw(st.integers(1, m))
    scheme = NMScheme(n, m)
    legal = legal_scheme(scheme)
    if n == m or worst_four(n, m) <= 2:
        assert legal == scheme
    elif legal is None:
        assert m % 4 or 2 * n > m
    else:
        assert legal.density == scheme.density
        assert legal.two_of_four or worst_four(legal.n, legal.m) <= 2


@pytest.mark.parametrize(
    ("given_", "legal"),
    [("2:4", "2:4"), ("8:16", "2:4"), ("4:8", "2:4"), ("2:16", "2:16"), ("1:2", "1:2"), ("1:3", "1:3"), ("2:8", "2:8")],
)
def test_the_usual_schemes(given_: str, legal: str) -> None:
    assert legal_scheme(NMScheme.parse(given_)) == NMScheme.parse(legal)


def test_four_of_sixteen_gets_the_second_condition_and_three_of_four_has_no_legal_form() -> None:
    assert legal_scheme(NMScheme(4, 16)) == NMScheme(4, 16, two_of_four=True)
    for n, m in ((3, 4), (12, 16), (2, 6), (2, 3)):
        assert legal_scheme(NMScheme(n, m)) is None
    for n, m in itertools.product((3, 9), (6, 16)):
        if n <= m and (m % 4 or 2 * n > m):
            with pytest.raises(PlanError, match="two of each aligned four"):
                NMScheme(n, m, two_of_four=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"shape": (16, 16, 1, 1)}, None),
        ({"shape": (32, 8, 3, 3)}, "8 channels in"),
        ({"shape": (32, 24, 3, 3)}, "not divisible by 16"),
        ({"shape": (8, 32, 3, 3)}, "8 channels out"),
        ({"conv_groups": 2}, "grouped"),
        ({"op": "ConvTranspose"}, "ConvTranspose"),
        ({"operand": 0, "op": "MatMul"}, "left"),
        ({"nested": True}, "If, Loop"),
        ({"key": WeightKey("w", ("function ai:f:",))}, None),
        ({"op": "MatMul", "layout": WeightLayout.matrix((64, 48), left=False), "outputs": 48}, None),
    ],
)
def test_which_sites_sparse_kernels_can_take(make_site: Any, changes: dict[str, Any], said: str | None) -> None:
    reason = refusal(make_site(**changes))
    if said is None:
        assert reason is None
    else:
        assert reason is not None
        assert said in reason


def test_an_inventory_gets_the_legal_pool_where_it_can_be_fast(make_site: Any) -> None:
    fast, small = make_site(), make_site(key=WeightKey("small"), conv_groups=4)
    inventory = Inventory(sites=(fast, small), skips=())
    assert inventory_for(inventory, "generic") == inventory
    both = inventory_for(inventory, "tensorrt")
    assert list(map(str, both.sites[0].schemes)) == ["16:16", "2:4", "4:16", "2:16", "1:16"]
    assert [scheme.two_of_four for scheme in both.sites[0].schemes] == [False, False, True, False, False]
    assert both.sites[1] == small
    alone = inventory_for(inventory, "tensorrt", speed_only=True)
    assert [site.key for site in alone.sites] == [fast.key]
    assert "speed only" in alone.skips[0].reason
    assert "grouped" in alone.skips[0].reason
    assert alone.params == inventory.params


def test_a_site_without_a_legal_scheme_is_left_out(make_site: Any) -> None:
    inventory = Inventory(sites=(make_site(schemes=(NMScheme(4, 4), NMScheme(3, 4))),), skips=())
    left = inventory_for(inventory, "tensorrt")
    assert not left.sites
    assert "two of each aligned four" in left.skips[0].reason
    assert left.skips[0].by_options


def test_schemes_of_which_none_is_legal_are_refused(make_site: Any) -> None:
    dense, mild, half = NMScheme(4, 4), NMScheme(3, 4), NMScheme(2, 4)
    mild_site, grouped = make_site(schemes=(dense, mild)), make_site(schemes=(dense, mild), conv_groups=4)
    with pytest.raises(PlanError, match="tensorrt takes none of the schemes 3:4: it wants at most two of each aligned"):
        require_legal(Inventory(sites=(mild_site, grouped), skips=()), "tensorrt")
    for sites in ((mild_site, make_site(schemes=(dense, half))), (grouped,), ()):
        require_legal(Inventory(sites=sites, skips=()), "tensorrt")
    require_legal(Inventory(sites=(mild_site,), skips=()), "generic")


def test_a_plans_schemes_take_their_legal_form_or_are_refused(make_site: Any) -> None:
    fast, small = make_site(), make_site(key=WeightKey("small"), conv_groups=4)
    inventory = Inventory(sites=(fast, small), skips=())
    plan = {fast.key: NMScheme(8, 16), small.key: NMScheme(8, 16)}
    assert schemes_for(plan, inventory, "generic") == plan
    assert schemes_for(plan, inventory, "tensorrt") == {fast.key: NMScheme(2, 4), small.key: NMScheme(8, 16)}
    with pytest.raises(PlanError, match="3:4 of 'w'"):
        schemes_for({fast.key: NMScheme(3, 4), small.key: NMScheme(3, 4)}, inventory, "tensorrt")

"""uniform and erk: densities by hand, and budgets that hold."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import BudgetError
from domino_onnx.scheme import (
    Budget,
    Inventory,
    NMScheme,
    SchemePool,
    Site,
    Skip,
    StoredNumbers,
    WeightKey,
    WeightLayout,
)
from domino_onnx.search import search_erk, search_uniform
from domino_onnx.search.erk import erk_densities
from domino_onnx.search.knapsack import Choice, choose
from domino_onnx.search.within import least_loss


def inventory(*shapes: tuple[int, ...], skipped: int = 0, pool: SchemePool | None = None) -> Inventory:
    """Conv weights of these shapes, groups along axis 1, each used at 10 positions per weight of its index + 1."""
    sites = tuple(
        Site(
            key=WeightKey(f"w{index}"),
            name=f"n{index}",
            op="Conv",
            layout=WeightLayout(shape, 1),
            numbers=StoredNumbers("float32"),
            consumers=(f"n{index}",),
            schemes=(pool or SchemePool.fixed_m()).for_reduction(shape[1]),
            macs=math.prod(shape) * 10 * (index + 1),
        )
        for index, shape in enumerate(shapes)
    )
    skips = (
        (Skip(key=WeightKey("s"), name="s", op="Conv", shape=(skipped,), params=skipped, macs=skipped, reason="r"),)
        if skipped
        else ()
    )
    return Inventory(sites=sites, skips=skips)


def test_erk_densities_are_those_computed_by_hand() -> None:
    # 0.1 * 8192 = 819.2 = eps * (128 + 160), so eps = 2.8444...; densities 128/4096 eps and 160/4096 eps.
    assert erk_densities([(64, 64), (32, 128)], 0.1) == pytest.approx([0.0888889, 0.1111111], abs=1e-6)
    # 0.25 * 2464 = 616 = eps * (38 + 26) would make the matrix 1.56 dense: it stays whole, the kernel gets the rest.
    assert erk_densities([(16, 16, 3, 3), (10, 16)], 0.25) == pytest.approx([(616 - 160) / 2304, 1.0])
    assert erk_densities([(4, 4)], 1.0) == [1.0]
    assert erk_densities([(8, 8), (4, 4)], 0.0) == [0.0, 0.0]


def test_uniform_at_seven_eighths_is_two_of_sixteen_everywhere() -> None:
    schemes = search_uniform(inventory((16, 32), (8, 64, 3, 3), (10, 16)), [Budget(measure="params", reduction=0.875)])
    assert set(schemes.values()) == {NMScheme(2, 16)}
    assert len(schemes) == 3


def test_uniform_makes_up_for_what_is_skipped() -> None:
    whole = inventory((16, 32), (16, 32), skipped=128)
    schemes = search_uniform(whole, [Budget(measure="params", reduction=0.75)])
    kept = 128 + sum(512 * scheme.n // scheme.m for scheme in schemes.values())
    assert kept <= 1152 * 0.25
    assert any(scheme.density < NMScheme(4, 16).density for scheme in schemes.values())


@pytest.mark.parametrize("strategy", [search_uniform, search_erk])
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from([4, 8, 12, 16, 20, 32, 48]), st.sampled_from([1, 3])),
        min_size=1,
        max_size=6,
    ),
    reduction=st.floats(0, 0.99),
    measure=st.sampled_from(["params", "flops"]),
    skipped=st.integers(0, 50),
)
@settings(deadline=None, derandomize=True, max_examples=80)
def test_budgets_hold_or_are_refused_with_what_is_reachable(
    strategy: object, shapes: list[tuple[int, int, int]], reduction: float, measure: str, skipped: int
) -> None:
    model = inventory(*shapes, skipped=skipped)
    budget = Budget(measure=measure, reduction=reduction)  # type: ignore[arg-type]

    def amount(site: Site) -> int:
        return math.prod(site.layout.shape) if measure == "params" else int(site.macs or 0)

    total = sum(map(amount, model.sites)) + skipped
    least = skipped + sum(math.ceil(amount(s) * s.schemes[-1].n / s.schemes[-1].m) for s in model.sites)
    limit = math.floor(total * (1 - reduction) + 1e-9)
    if least > limit:
        with pytest.raises(BudgetError, match=r"at most [0-9.e-]+ is possible"):
            strategy(model, [budget])  # type: ignore[operator]
        return
    schemes = strategy(model, [budget])  # type: ignore[operator]
    kept = skipped + sum(math.ceil(amount(s) * schemes[s.key].n / schemes[s.key].m) for s in model.sites)
    assert kept <= limit
    assert all(schemes[s.key] in s.schemes for s in model.sites)


def test_the_reachable_share_in_the_refusal_can_be_asked_for() -> None:
    model = inventory((16, 32), (7, 12), skipped=37)
    with pytest.raises(BudgetError) as refused:
        search_uniform(model, [Budget(measure="params", reduction=0.99)])
    share = float(str(refused.value).split("at most ")[1].split(" ")[0])
    search_uniform(model, [Budget(measure="params", reduction=share)])
    search_erk(model, [Budget(measure="params", reduction=share)])


def test_a_model_without_sites_says_so() -> None:
    for empty in (inventory(skipped=10), inventory()):
        with pytest.raises(BudgetError, match="no weight to prune"):
            search_uniform(empty, [Budget(measure="params", reduction=0.5)])


def test_what_the_options_left_is_told_apart_in_the_refusal() -> None:
    left = Skip(key=WeightKey("o"), name="o", op="Conv", shape=(512,), params=512, reason="r", by_options=True)
    some, none = inventory((16, 32), skipped=256), inventory(skipped=10)
    budget = [Budget(measure="params", reduction=0.9)]
    with pytest.raises(BudgetError) as refused:
        search_uniform(dataclasses.replace(some, skips=(*some.skips, left)), budget)
    assert "with the only site at its sparsest; weights that can't be pruned keep 20.0 % of the params" in str(
        refused.value
    )
    assert "those that the options leave dense 40.0 %" in str(refused.value)
    with pytest.raises(BudgetError, match="the options leave no weight to prune"):
        search_uniform(dataclasses.replace(none, skips=(*none.skips, left)), budget)


def test_unknown_macs_ask_for_an_input_shape() -> None:
    site = inventory((4, 16)).sites[0]
    blind = Inventory(
        sites=(
            Site(
                key=site.key,
                name="conv1",
                op="Conv",
                layout=site.layout,
                numbers=StoredNumbers("float32"),
                consumers=("conv1",),
                schemes=site.schemes,
            ),
        ),
        skips=(),
    )
    with pytest.raises(BudgetError, match=r"conv1.*--data"):
        search_uniform(blind, [Budget(measure="flops", reduction=0.5)])


@pytest.mark.parametrize("reduction", [-0.1, 1.0, 87.5, math.nan, math.inf])
def test_impossible_reductions_are_refused(reduction: float) -> None:
    with pytest.raises(BudgetError, match=r"write 0\.875 or 87\.5%"):
        Budget(measure="params", reduction=reduction)


def test_erk_keeps_small_weights_denser_than_large_ones() -> None:
    schemes = search_erk(inventory((64, 64, 3), (16, 16)), [Budget(measure="params", reduction=0.8)])
    assert schemes[WeightKey("w1")].density > schemes[WeightKey("w0")].density


@pytest.mark.parametrize("strategy", [search_uniform, search_erk])
@pytest.mark.parametrize(("params", "flops"), [(0.875, 0.5), (0.5, 0.875), (0.75, 0.75), (0.6, 0.7)])
def test_two_budgets_hold_together(strategy: object, params: float, flops: float) -> None:
    model = inventory((16, 32, 3), (64, 16), (32, 48, 3), (10, 64), skipped=60)
    budgets = [Budget(measure="params", reduction=params), Budget(measure="flops", reduction=flops)]
    schemes = strategy(model, budgets)  # type: ignore[operator]
    for amounts, total, reduction in (
        ([site.params for site in model.sites], model.params, params),
        ([site.macs or 0 for site in model.sites], model.macs or 0, flops),
    ):
        kept = 60 + sum(
            math.ceil(amount * schemes[site.key].n / schemes[site.key].m)
            for amount, site in zip(amounts, model.sites, strict=True)
        )
        assert kept <= total * (1 - reduction)


def test_a_second_budget_that_asks_for_less_changes_nothing() -> None:
    model = inventory((16, 32), (8, 64, 3, 3), (10, 16))
    half, most = Budget(measure="flops", reduction=0.5), Budget(measure="params", reduction=0.875)
    assert search_uniform(model, [most, half]) == search_uniform(model, [most])


@pytest.mark.parametrize("strategy", [search_uniform, search_erk])
def test_each_budget_out_of_reach_is_named_and_two_of_one_measure_are_refused(strategy: object) -> None:
    model, half = inventory((16, 32), (16, 16)), Budget(measure="params", reduction=0.5)
    with pytest.raises(BudgetError, match=r"--flops-reduction 0\.99 can't be reached"):
        strategy(model, [half, Budget(measure="flops", reduction=0.99)])  # type: ignore[operator]
    with pytest.raises(BudgetError, match="of one measure"):
        strategy(model, [half, half])  # type: ignore[operator]


@pytest.mark.parametrize("strategy", [search_uniform, search_erk])
def test_without_a_budget_all_stays_dense(strategy: object) -> None:
    schemes = strategy(inventory((16, 32), (16, 16)), [])  # type: ignore[operator]
    assert all(scheme.is_dense for scheme in schemes.values())


def test_the_log_tells_where_a_choice_is_not_proved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unproved(*problem: Any) -> Choice:
        return dataclasses.replace(choose(*problem), gap=0.25)

    model, losses = inventory((16, 32)), [[0.0, 1.0, 2.0, 3.0, 4.0]]
    caplog.set_level("INFO", "domino_onnx")
    chosen = least_loss(model, [Budget(measure="params", reduction=0.5)], losses)
    assert not caplog.messages
    monkeypatch.setattr(sys.modules[least_loss.__module__], "choose", unproved)
    assert least_loss(model, [Budget(measure="params", reduction=0.5)], losses) == chosen
    assert ["by 0.25 at most" in message for message in caplog.messages] == [True]

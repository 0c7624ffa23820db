"""Every strategy counts the zeros that a model has before anything is pruned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
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
from domino_onnx.search import (
    LossTable,
    search_domino,
    search_erk,
    search_measured_domino,
    search_sensitivity,
    search_uniform,
)

Schemes = Mapping[WeightKey, NMScheme]
Strategy = Callable[[Inventory, list[Budget]], Schemes]


def site(index: int, zeros: int = 0, rows: int = 8, macs: int | None = None) -> Site:
    """A weight of `rows` rows of 16."""
    return Site(
        key=WeightKey(f"w{index}"),
        name=f"n{index}",
        op="Gemm",
        layout=WeightLayout((rows, 16), 1),
        numbers=StoredNumbers("float32"),
        consumers=(f"n{index}",),
        schemes=SchemePool.fixed_m().for_reduction(16),
        zeros=zeros,
        macs=rows * 16 * (index + 1) if macs is None else macs,
    )


def skip(params: int, zeros: int) -> Skip:
    return Skip(
        key=WeightKey("s"), name="s", op="Conv", shape=(params,), params=params, zeros=zeros, macs=params, reason="r"
    )


def table(inventory: Inventory) -> LossTable:
    """Losses that grow with what is pruned, faster in later sites."""
    losses = {
        site.key: tuple((index + 1) * float(1 - scheme.density) ** 2 for scheme in site.schemes)
        for index, site in enumerate(inventory.sites)
    }
    return LossTable(losses=losses)


def total(losses: LossTable, schemes: Schemes) -> float:
    """The losses of a plan's schemes added up."""
    sites = [(key, schemes[key]) for key in losses.losses]
    return sum((int(str(key)[1:]) + 1) * float(1 - scheme.density) ** 2 for key, scheme in sites)


def domino(inventory: Inventory, budgets: list[Budget]) -> Schemes:
    generator = np.random.default_rng(0)
    arrays = {site.key: generator.standard_normal(site.layout.shape).astype(np.float32) for site in inventory.sites}
    for site in inventory.sites:
        arrays[site.key].reshape(-1)[: site.zeros] = 0
    return search_domino(inventory, budgets, arrays.__getitem__).schemes


def measured(inventory: Inventory, budgets: list[Budget]) -> Schemes:
    return search_measured_domino(inventory, budgets, table(inventory)).schemes


def sensitivity(inventory: Inventory, budgets: list[Budget]) -> Schemes:
    return search_sensitivity(inventory, budgets, table(inventory))


STRATEGIES = [search_uniform, search_erk, domino, measured, sensitivity]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.__name__)


def saved(inventory: Inventory, schemes: Schemes, measure: str) -> int:
    """By hand: (M - N) of every M weights, or the zeros of a weight that is dense."""
    total = 0
    for weight in inventory.counted:
        scheme = schemes.get(weight.key, NMScheme(1, 1))
        zeros = weight.zeros if scheme.is_dense else weight.params // scheme.m * (scheme.m - scheme.n)
        total += zeros if measure == "params" else math.floor(Fraction((weight.macs or 0) * zeros, weight.params))
    return total


def amount(inventory: Inventory, measure: str) -> int:
    return sum(weight.params if measure == "params" else weight.macs or 0 for weight in inventory.counted)


@every_strategy
def test_a_skipped_weight_of_zeros_leaves_the_sites_less_to_give(strategy: Strategy) -> None:
    """Half of the weights are zeros that can't be pruned, so that 5/8 asks a quarter of the sites."""
    inventory = Inventory(sites=(site(0), site(1)), skips=(skip(256, zeros=256),))
    schemes = strategy(inventory, [Budget(measure="params", reduction=0.625)])
    assert 0.625 * 512 <= saved(inventory, schemes, "params") <= 0.75 * 512
    assert all(scheme.is_dense for scheme in strategy(inventory, [Budget(measure="params", reduction=0.5)]).values())
    with pytest.raises(BudgetError, match=r"at most 0\.9687 is possible.*keep 0\.0 % of the params"):
        strategy(inventory, [Budget(measure="params", reduction=0.97)])


@every_strategy
def test_a_site_of_zeros_stays_dense_where_every_scheme_has_fewer(strategy: Strategy) -> None:
    inventory = Inventory(sites=(site(0, zeros=127), site(1, zeros=1), site(2)), skips=(skip(8, zeros=0),))
    most = 127 + 2 * 120
    share = most / 392
    schemes = strategy(inventory, [Budget(measure="params", reduction=share)])
    assert [str(schemes[weight.key]) for weight in inventory.sites] == ["16:16", "1:16", "1:16"]
    with pytest.raises(BudgetError, match="can't be reached"):
        strategy(inventory, [Budget(measure="params", reduction=(most + 1) / 392)])
    assert all(scheme.is_dense for scheme in strategy(inventory, [Budget(measure="params", reduction=0.3)]).values())


def test_uniform_shares_out_what_sites_with_zeros_leave() -> None:
    """A site of zeros counts for more than its share, so that a quarter less of the other ones does."""
    inventory = Inventory(sites=(site(0, zeros=128), site(1), site(2)), skips=())
    schemes = search_uniform(inventory, [Budget(measure="params", reduction=(128 + 128) / 384)])
    assert [str(schemes[weight.key]) for weight in inventory.sites] == ["16:16", "8:16", "8:16"]


@st.composite
def models(draw: st.DrawFn) -> Inventory:
    sites = [
        site(
            index,
            zeros=draw(st.one_of(st.just(0), st.integers(0, 48))),
            rows=3,
            macs=draw(st.integers(0, 1009)),
        )
        for index in range(draw(st.integers(1, 3)))
    ]
    params = draw(st.integers(1, 60))
    return Inventory(sites=tuple(sites), skips=(skip(params, draw(st.integers(0, params))),))


@every_strategy
@given(inventory=models(), params=st.floats(0, 0.99), flops=st.one_of(st.none(), st.floats(0, 0.99)))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_budgets_are_met_wherever_some_choice_meets_them(
    strategy: Strategy, inventory: Inventory, params: float, flops: float | None
) -> None:
    budgets = [Budget(measure="params", reduction=params)]
    budgets += [] if flops is None else [Budget(measure="flops", reduction=flops)]

    def meets(schemes: Schemes) -> bool:
        return all(
            saved(inventory, schemes, budget.measure)
            >= amount(inventory, budget.measure) * Fraction(repr(budget.reduction))
            for budget in budgets
        )

    keys = [site.key for site in inventory.sites]
    every = itertools.product(*(site.schemes for site in inventory.sites))
    meeting = [chosen for each in every if meets(chosen := dict(zip(keys, each, strict=True)))]
    if not meeting:
        with pytest.raises(BudgetError):
            strategy(inventory, budgets)
        return
    schemes = strategy(inventory, budgets)
    assert meets(schemes)
    if strategy is sensitivity:
        losses = table(inventory)
        assert total(losses, schemes) == pytest.approx(min(total(losses, chosen) for chosen in meeting), rel=1e-9)

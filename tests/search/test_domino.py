"""The search takes the same decisions, step by step, as a plain reference of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from domino_onnx.errors import BudgetError, OptionError
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
from domino_onnx.search import DominoOptions, search_domino

from .reference_domino import RefOptions, RefSite, reference_domino

SHAPES = [((6, 32), 1, 6 * 32 * 9), ((16, 8, 3), 0, 16 * 24 * 4), ((4, 16, 2), 1, 4 * 32 * 25)]
MIXED = [((5, 12), 1, 60), ((4, 16), 1, 640), ((8, 10), 0, 80 * 7), ((2, 32), 1, 64 * 16)]

THIRDS = [((5, 12), 1, 60), ((4, 24), 1, 640), ((48, 4), 0, 80 * 7), ((3, 9), 1, 64 * 16)]


def grid(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Multiples of 1/64 in a heavy-tailed spread: their sums, and so the thresholds, are exact in float32."""
    return (np.round(generator.standard_t(3, shape) * 16) / 64).astype(np.float32)


class FakeGradient:
    """c * masked weight + noise on a coarse grid: the same for both searches as long as their weights are."""

    def __init__(self, keys: list[WeightKey], seed: int, pull: float = 0.25) -> None:
        self.keys, self.pull, self.generator, self.calls = keys, np.float32(pull), np.random.default_rng(seed), 0

    def noise(self, size: int) -> np.ndarray[Any, Any]:
        return (self.generator.integers(-32, 33, size) / 128).astype(np.float32)

    def __call__(
        self, weights: Mapping[WeightKey, np.ndarray[Any, Any]]
    ) -> tuple[float, dict[WeightKey, np.ndarray[Any, Any]]]:
        self.calls += 1
        return 1.0, {
            key: self.pull * weights[key] + self.noise(weights[key].size).reshape(weights[key].shape)
            for key in self.keys
        }

    def on_lists(self, masked: list[list[np.float32]]) -> list[list[np.float32]]:
        return [list(self.pull * np.array(values, np.float32) + self.noise(len(values))) for values in masked]


CASES = [
    pytest.param({}, SHAPES, "fixed-m", "params", 0.75, False, id="plain"),
    pytest.param({}, SHAPES, "fixed-m", "params", 0.75, True, id="gradient"),
    pytest.param({}, SHAPES, "fixed-m", "flops", 0.5, False, id="flops"),
    pytest.param({"decay": 3.0}, SHAPES, "fixed-m", "flops", 0.7, True, id="flops-gradient"),
    pytest.param({}, SHAPES, "fixed-n", "params", 0.75, False, id="fixed-n"),
    pytest.param({"decay": 2.0}, MIXED, "fixed-n", "flops", 0.55, True, id="fixed-n-mixed-flops-gradient"),
    pytest.param({}, MIXED, "fixed-m", "params", 0.6, False, id="mixed"),
    pytest.param({"vote": 0.4}, MIXED, "fixed-m", "params", 0.6, True, id="low-vote"),
    pytest.param({"vote": 1.0, "decay": 2.0}, SHAPES, "fixed-m", "params", 0.5, False, id="unanimous"),
    pytest.param(
        {"check_every": 3, "penalise_every": 2, "decay": 4.0}, SHAPES, "fixed-m", "params", 0.7, True, id="strides"
    ),
    pytest.param({"penalise_every": 5, "decay": 6.0}, MIXED, "fixed-m", "flops", 0.5, False, id="rare-penalty"),
    pytest.param({"erk_weight": 0.0}, SHAPES, "fixed-m", "params", 0.75, False, id="no-erk"),
    pytest.param({"flops_weight": 0.1, "erk_weight": 1.0}, SHAPES, "fixed-m", "params", 0.7, False, id="erk-heavy"),
    pytest.param({"patience": 3, "decay": 0.05}, SHAPES, "fixed-m", "params", 0.6, False, id="impatient"),
    pytest.param({"decay": 2.0}, SHAPES, "fixed-m", "params", 0.92, True, id="nearly-all"),
    pytest.param({"decay": 2.0}, MIXED, "fixed-m", "flops", 0.85, True, id="floors"),
    pytest.param({"lr": 0.05}, MIXED, "fixed-m", "params", 0.7, True, id="fast"),
    pytest.param({}, THIRDS, "1:3,2:4,3:12,1:12", "params", 0.75, False, id="thirds"),
    pytest.param({"decay": 2.0}, THIRDS, "1:3,2:4,5:6,1:12,3:16", "flops", 0.6, True, id="thirds-flops-gradient"),
    pytest.param({"decay": 2.0}, SHAPES, "2:4,1:4,2:16,4:8,1:8", "params", 0.7, True, id="mixed-m"),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("changed", "shapes", "policy", "measure", "reduction", "with_gradient"), CASES)
def test_decisions_equal_those_of_the_reference(
    changed: dict[str, Any],
    shapes: list[tuple[tuple[int, ...], int, int]],
    policy: str,
    measure: str,
    reduction: float,
    with_gradient: bool,
    seed: int,
    groups_of: Callable[..., list[list[int]]],
) -> None:
    generator = np.random.default_rng(seed)
    families = {"fixed-m": SchemePool.fixed_m, "fixed-n": SchemePool.fixed_n}
    pool = families[policy]() if policy in families else SchemePool.parse(policy)
    sites = [site(index, shape, axis, macs, pool) for index, (shape, axis, macs) in enumerate(shapes)]
    arrays = {site.key: grid(generator, site.layout.shape) for site in sites}
    skip = Skip(key=WeightKey("skipped"), name="s", op="Conv", shape=(3, 3), params=9, macs=20, reason="small")
    inventory = Inventory(sites=tuple(sites), skips=(skip,))
    keys = [site.key for site in sites]

    result = search_domino(
        inventory,
        [Budget(measure=measure, reduction=reduction)],  # type: ignore[arg-type]
        arrays.__getitem__,
        DominoOptions(**changed),
        gradients=FakeGradient(keys, seed) if with_gradient else None,
    )
    references = [
        RefSite(
            shape=site.layout.shape,
            values=list(arrays[site.key].reshape(-1)),
            groups=[],
            schemes=[(scheme.n, scheme.m) for scheme in site.schemes],
            macs=site.macs,
        )
        for site in sites
    ]
    for reference, one in zip(references, sites, strict=True):
        reference.groups = groups_of(one.layout.shape, one.layout.axis, reference.group_size)
    events, schemes = reference_domino(
        references,
        measure=measure,
        reduction=reduction,
        skipped_amount=9 if measure == "params" else 20,
        skipped_params=9,
        macs_known=True,
        options=RefOptions(**changed),
        gradient=FakeGradient(keys, seed).on_lists if with_gradient else None,
    )

    got = [
        (
            None if decision.kind == "give-back" else decision.step,
            decision.kind,
            None if decision.key is None else keys.index(decision.key),
            None if decision.scheme is None else (decision.scheme.n, decision.scheme.m),
        )
        for decision in result.decisions
    ]
    assert got == events
    assert [(result.schemes[key].n, result.schemes[key].m) for key in keys] == schemes
    assert sum(event[1] == "scheme" for event in events) >= 3


def site(index: int, shape: tuple[int, ...], axis: int, macs: int | None, pool: SchemePool) -> Site:
    layout = WeightLayout(shape, axis)
    return Site(
        key=WeightKey(f"w{index}"),
        name=f"n{index}",
        op="Conv",
        layout=layout,
        numbers=StoredNumbers("float32"),
        consumers=(f"n{index}",),
        schemes=pool.for_reduction(layout.reduction),
        macs=macs,
    )


def small_inventory(macs: int | None = 100, count: int = 3) -> Inventory:
    pool = SchemePool.fixed_m()
    return Inventory(sites=tuple(site(index, (8, 32), 1, macs, pool) for index in range(count)), skips=())


def test_budget_holds_and_no_recorded_move_could_be_undone() -> None:
    generator = np.random.default_rng(0)
    inventory = small_inventory()
    arrays = {site.key: grid(generator, site.layout.shape) for site in inventory.sites}
    for reduction in (0.25, 0.3, 0.4375, 0.5, 0.625, 0.66, 0.6875, 0.75, 0.78125, 0.8, 0.875, 0.9):
        schemes = search_domino(inventory, [Budget(measure="params", reduction=reduction)], arrays.__getitem__).schemes
        kept = sum(256 * scheme.n // scheme.m for scheme in schemes.values())
        limit = math.floor(768 * (1 - reduction))
        assert kept <= limit
        for key, scheme in schemes.items():
            if scheme.n < scheme.m:
                assert kept + 256 * scheme.n // scheme.m > limit, (key, reduction)


def test_a_budget_met_exactly_is_enough() -> None:
    array = grid(np.random.default_rng(0), (8, 32))
    for reduction, scheme in ((0.5, NMScheme(8, 16)), (0.75, NMScheme(4, 16)), (0.9375, NMScheme(1, 16))):
        budget = Budget(measure="params", reduction=reduction)
        schemes = search_domino(small_inventory(count=1), [budget], lambda key: array).schemes
        assert set(schemes.values()) == {scheme}


def test_weights_given_in_any_dtype_are_searched() -> None:
    inventory = small_inventory(count=2)
    budget = Budget(measure="params", reduction=0.5)
    arrays = {site.key: grid(np.random.default_rng(5), site.layout.shape) for site in inventory.sites}
    expected = search_domino(inventory, [budget], arrays.__getitem__)
    for dtype in (np.float16, np.float64):
        got = search_domino(inventory, [budget], lambda key, dtype=dtype: arrays[key].astype(dtype))
        assert got.schemes == expected.schemes
        assert got.steps == expected.steps


def test_the_weights_given_are_not_changed() -> None:
    inventory = small_inventory(count=1)
    array = grid(np.random.default_rng(5), (8, 32))
    before = array.copy()
    array.flags.writeable = False
    search_domino(inventory, [Budget(measure="params", reduction=0.5)], lambda key: array)
    np.testing.assert_array_equal(array, before)


def test_all_zero_and_constant_weights_still_reach_the_budget() -> None:
    inventory = small_inventory(count=2)
    for array in (
        np.zeros((8, 32), np.float32),
        np.full((8, 32), 0.5, np.float32),
        np.full((8, 32), 1e-30, np.float32),
    ):
        schemes = search_domino(
            inventory, [Budget(measure="params", reduction=0.875)], lambda key, array=array: array
        ).schemes
        assert sum(scheme.density for scheme in schemes.values()) <= 2 * 0.125


def test_unknown_macs_fall_back_to_params_in_the_factors() -> None:
    arrays = {WeightKey(f"w{i}"): grid(np.random.default_rng(i), (8, 32)) for i in range(3)}
    budget = Budget(measure="params", reduction=0.75)
    without = search_domino(small_inventory(macs=None), [budget], arrays.__getitem__)
    equal = search_domino(small_inventory(macs=256), [budget], arrays.__getitem__)
    assert without.decisions == equal.decisions


def test_an_unreachable_budget_is_refused_before_any_step() -> None:
    def gradients(weights: object) -> tuple[float, dict[WeightKey, Any]]:
        raise AssertionError("no step should be taken")

    with pytest.raises(BudgetError, match=r"at most 0\.9375 is possible"):
        search_domino(
            small_inventory(),
            [Budget(measure="params", reduction=0.95)],
            lambda key: np.ones((8, 32), np.float32),
            gradients=gradients,
        )


def test_a_search_that_nothing_pulls_any_more_ends() -> None:
    """Each site has 8:16, and lacks less than 0.01 of its ERK sparsity, which pulls no more. MACs have the weight 0."""
    steps, options = [], DominoOptions(flops_weight=0.0)
    with pytest.raises(BudgetError, match="makes no move before the budgets are met"):
        search_domino(
            small_inventory(),
            [Budget(measure="params", reduction=0.505)],
            lambda key: grid(np.random.default_rng(0), (8, 32)),
            options,
            progress=lambda _, reached: steps.append(reached),
        )
    fell = steps.index(0.5)
    assert len(steps) <= fell + options.patience


def test_weights_of_which_none_pulls_are_refused() -> None:
    with pytest.raises(OptionError, match="erk_weight and flops_weight are both 0"):
        DominoOptions(erk_weight=0.0, flops_weight=0.0)


def test_a_budget_of_nothing_prunes_nothing() -> None:
    schemes = search_domino(
        small_inventory(), [Budget(measure="params", reduction=0.0)], lambda key: np.ones((8, 32), np.float32)
    ).schemes
    assert all(scheme.is_dense for scheme in schemes.values())


def test_progress_tells_how_much_is_reached_and_never_goes_back() -> None:
    told: list[float] = []
    array = grid(np.random.default_rng(5), (8, 32))
    budget = Budget(measure="params", reduction=0.75)
    search_domino(small_inventory(), [budget], lambda key: array, progress=lambda _, achieved: told.append(achieved))
    assert told
    assert told == sorted(told)
    assert told[-1] >= 0.75


def uneven_inventory() -> Inventory:
    """Three weights of one size that are used at very different numbers of positions."""
    pool = SchemePool.fixed_m()
    return Inventory(
        sites=tuple(site(index, (8, 32), 1, 256 * 10**index, pool) for index in range(3)),
        skips=(Skip(key=WeightKey("s"), name="s", op="Conv", shape=(8,), params=8, macs=8, reason="small"),),
    )


@pytest.mark.parametrize(("params", "flops"), [(0.75, 0.5), (0.5, 0.9), (0.3, 0.3), (0.0, 0.8), (0.875, 0.9)])
def test_two_budgets_are_met_and_no_move_could_be_undone(params: float, flops: float) -> None:
    inventory, generator = uneven_inventory(), np.random.default_rng(0)
    arrays = {site.key: grid(generator, site.layout.shape) for site in inventory.sites}
    budgets = [Budget(measure="params", reduction=params), Budget(measure="flops", reduction=flops)]
    told: list[tuple[Budget, float]] = []
    result = search_domino(inventory, budgets, arrays.__getitem__, progress=lambda *least: told.append(least))

    def is_met(schemes: Mapping[WeightKey, NMScheme]) -> bool:
        shares = [schemes[site.key].n / schemes[site.key].m for site in inventory.sites]
        kept = 8 + sum(256 * share for share in shares)
        macs = 8 + sum(256 * 10**index * share for index, share in enumerate(shares))
        return kept <= 776 * (1 - params) and macs <= 28424 * (1 - flops)

    assert is_met(result.schemes)
    for site in inventory.sites:
        place = site.schemes.index(result.schemes[site.key])
        assert place == 0 or not is_met({**result.schemes, site.key: site.schemes[place - 1]})
    least = [achieved / budget.reduction for budget, achieved in told if budget.reduction]
    assert least == sorted(least)
    assert all(len(decision.achieved) == 2 for decision in result.decisions)


def test_schemes_stay_in_the_pool_of_their_site() -> None:
    pool = SchemePool.fixed_n()
    inventory = Inventory(sites=(site(0, (4, 12), 1, 48, pool), site(1, (4, 32), 1, 128, pool)), skips=())
    arrays = {s.key: grid(np.random.default_rng(3), s.layout.shape) for s in inventory.sites}
    schemes = search_domino(inventory, [Budget(measure="params", reduction=0.7)], arrays.__getitem__).schemes
    assert schemes[WeightKey("w0")] in {NMScheme(4, 4), NMScheme(1, 2), NMScheme(1, 4)}
    assert schemes[WeightKey("w1")] in pool.schemes

"""Zeros and saved MACs that are planned, against zeros counted in arrays and against every choice of schemes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import BudgetError
from domino_onnx.scheme import (
    Budget,
    Inventory,
    Measure,
    NMScheme,
    SchemePool,
    Site,
    Skip,
    StoredNumbers,
    WeightKey,
    WeightLayout,
    require_reachable,
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Weights:
    """An inventory, and the arrays that it was taken of."""

    inventory: Inventory
    arrays: dict[WeightKey, Array]

    def masked(self, schemes: dict[WeightKey, NMScheme]) -> dict[WeightKey, Array]:
        """Ones where a scheme keeps a weight, zeros elsewhere; without a scheme the array itself."""
        masked = dict(self.arrays)
        for key, scheme in schemes.items():
            if scheme.n < scheme.m:
                kept = np.zeros(self.arrays[key].shape)
                for row, column in np.ndindex(*kept.shape):
                    kept[row, column] = column % scheme.m < scheme.n
                masked[key] = kept
        return masked

    def saved(self, measure: str, schemes: dict[WeightKey, NMScheme]) -> int:
        """Zeros counted one by one, or the MACs that they are worth, whole ones for each weight."""
        counted = {weight.key: weight for weight in self.inventory.counted}
        total = 0
        for key, array in self.masked(schemes).items():
            if key in counted:
                zeros = sum(1 for value in array.reshape(-1).tolist() if value == 0)
                worth = Fraction(counted[key].macs or 0, max(array.size, 1)) if measure == "flops" else Fraction(1)
                total += math.floor(zeros * worth)
        return total

    def total(self, measure: str) -> int:
        return sum(weight.params if measure == "params" else weight.macs or 0 for weight in self.inventory.counted)

    def choices(self) -> Any:
        """Every choice of one scheme a site."""
        keys = [site.key for site in self.inventory.sites]
        for schemes in itertools.product(*(site.schemes for site in self.inventory.sites)):
            yield dict(zip(keys, schemes, strict=True))


def zeroed(draw: st.DrawFn, shape: tuple[int, int]) -> Array:
    """Ones, with any number of zeros among them."""
    array = np.ones(shape)
    count = draw(st.one_of(st.just(0), st.integers(0, array.size), st.just(array.size)))
    array.reshape(-1)[np.random.default_rng(draw(st.integers(0, 9))).permutation(array.size)[:count]] = 0
    return array


@st.composite
def small_models(draw: st.DrawFn) -> Weights:
    """Up to three sites and three skips, with zeros in any of them, and MACs that no power of two divides."""
    pool = draw(st.sampled_from([SchemePool.fixed_m(4), SchemePool.fixed_m(8), SchemePool.parse("2:4,3:12,1:8,1:3")]))
    macs = st.integers(0, 10_007)
    sites, skips, arrays = [], [], {}
    for index in range(draw(st.integers(0, 3))):
        shape = draw(st.integers(1, 3)), draw(st.sampled_from([4, 8, 12, 24]))
        array, key = zeroed(draw, shape), WeightKey(f"w{index}")
        arrays[key] = array
        site = Site(
            key=key,
            name=key.name,
            op="Gemm",
            layout=WeightLayout(shape, 1),
            numbers=StoredNumbers("float32"),
            consumers=(key.name,),
            schemes=pool.for_reduction(shape[1]),
            zeros=array.size - int(array.sum()),
            macs=draw(macs),
        )
        sites.append(site)
    for index in range(draw(st.integers(0, 3))):
        shape = draw(st.integers(0, 3)), draw(st.integers(1, 10))
        array, key = zeroed(draw, shape), WeightKey(f"s{index}")
        arrays[key] = array
        skip = Skip(
            key=key,
            name=key.name,
            op="Gemm",
            shape=shape,
            params=array.size,
            reason="depthwise",
            zeros=array.size - int(array.sum()),
            macs=draw(macs) if array.size else 0,
            counted=draw(st.booleans()),
        )
        skips.append(skip)
    return Weights(Inventory(sites=tuple(sites), skips=tuple(skips)), arrays)


@given(small_models(), st.randoms(use_true_random=False))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_what_is_planned_is_what_masked_arrays_hold(model: Weights, random: Any) -> None:
    inventory = model.inventory
    schemes = {site.key: random.choice(site.schemes) for site in inventory.sites if random.random() < 0.8}
    params, macs = model.total("params"), model.total("flops")
    zeros, saved = model.saved("params", schemes), model.saved("flops", schemes)
    assert inventory.sparsity(schemes) == (zeros / params if params else 0.0)
    assert inventory.flops_saved(schemes) == (saved / macs if macs else None)
    for measure, gone, total in (("params", zeros, params), ("flops", saved, macs)):
        budget = Budget(measure=measure, reduction=0.5)  # type: ignore[arg-type]
        assert budget.kept(inventory, schemes) == total - gone
        assert budget.achieved(inventory, schemes) == (gone / total if total else 0.0)
        assert budget.is_met(inventory, schemes) == (2 * gone >= total)
        sites = {site.key for site in inventory.sites}
        skipped = dataclasses.replace(inventory, sites=())
        rest = Weights(skipped, {key: array for key, array in model.arrays.items() if key not in sites})
        left = rest.total(measure) - rest.saved(measure, {})
        assert budget.limit_for_sites(inventory) == total - math.ceil(Fraction(total, 2)) - left


@given(small_models(), st.floats(0, 0.999), st.floats(0, 0.999))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_budgets_are_reachable_if_some_choice_of_schemes_meets_them(
    model: Weights, params: float, flops: float
) -> None:
    wanted: list[tuple[Measure, float]] = [("params", params), ("flops", flops)]
    needed = {measure: math.ceil(model.total(measure) * Fraction(repr(share))) for measure, share in wanted}
    saved = [{measure: model.saved(measure, schemes) for measure in needed} for schemes in model.choices()]
    possible = any(all(each[measure] >= needed[measure] for measure in needed) for each in saved)
    budgets = [Budget(measure=measure, reduction=share) for measure, share in wanted]
    if possible and (model.inventory.counted or not max(params, flops)):
        require_reachable(budgets, model.inventory)
    else:
        with pytest.raises(BudgetError, match="can't be reached"):
            require_reachable(budgets, model.inventory)


@given(small_models())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_share_that_a_refusal_names_is_the_largest_that_there_is(model: Weights) -> None:
    most = max(model.saved("params", schemes) for schemes in model.choices())
    total = model.total("params")
    if not model.inventory.sites or most == total:
        return
    with pytest.raises(BudgetError) as refused:
        Budget(measure="params", reduction=0.9999).require_reachable(model.inventory)
    share = float(str(refused.value).split("at most ")[1].split(" ")[0])
    assert share <= most / total < share + 1e-4
    Budget(measure="params", reduction=share).require_reachable(model.inventory)
    assert model.inventory.sparsity(model.inventory.sparsest) == most / total


@given(small_models())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_what_a_site_may_choose_from_never_has_fewer_zeros(model: Weights) -> None:
    for site in model.inventory.sites:
        zeros = [model.saved("params", {site.key: scheme}) for scheme in site.choices]
        assert zeros == sorted(set(zeros))
        assert site.choices[0].is_dense
        most = max(model.saved("params", {site.key: scheme}) for scheme in site.schemes)
        assert zeros[-1] == model.saved("params", {site.key: site.sparsest}) == most


def test_without_shapes_no_macs_are_known() -> None:
    skip = Skip(key=WeightKey("s"), name="s", op="Conv", shape=(2, 2), params=4, zeros=1, reason="depthwise")
    inventory = Inventory(sites=(), skips=(skip,))
    assert inventory.flops_saved({}) is None
    assert inventory.sparsity({}) == 0.25

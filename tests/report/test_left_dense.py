"""Why a weight stayed dense, in figures that a table of losses gives."""

from __future__ import annotations

import dataclasses

import pytest

from domino_onnx.report.left_dense import left_dense
from domino_onnx.report.page import compress_page
from domino_onnx.report.results import CompressResult
from domino_onnx.scheme import Budget, FrozenMapping, NMScheme, Skip, WeightKey
from domino_onnx.search import LossTable

DENSE, HALF, QUARTER = NMScheme(4, 4), NMScheme(2, 4), NMScheme(1, 4)


def searched(result: CompressResult, budget: Budget, losses: dict[str, tuple[float, ...]]) -> CompressResult:
    """As if a search had given all weights 2:4 but the first, which it left, and had measured these losses."""
    sites = tuple(dataclasses.replace(site, schemes=(DENSE, HALF, QUARTER)) for site in result.inventory.sites)
    inventory = dataclasses.replace(result.inventory, sites=sites)
    schemes = {site.key: DENSE if site is sites[0] else HALF for site in sites}
    table = {site.key: losses.get(site.key.name, (0.0, 0.001, 0.002)) for site in sites}
    return dataclasses.replace(
        result,
        inventory=inventory,
        plan=dataclasses.replace(result.plan, schemes=FrozenMapping(schemes), budgets=(budget,)),
        weights=tuple(
            dataclasses.replace(record, scheme=schemes[site.key])
            for site, record in zip(sites, result.weights, strict=True)
        ),
        losses=LossTable(losses=FrozenMapping(table)),
    )


BY_PARAMS, BY_MACS = Budget(measure="params", reduction=0.4), Budget(measure="flops", reduction=0.4)


@pytest.mark.parametrize(
    ("budget", "loss", "reason"),
    [
        (
            BY_PARAMS,
            0.003,
            "2:4, its mildest scheme, would lose 0.003 for 512 zeros, 3.0 times what as many zeros lose in the weights "
            "that were pruned",
        ),
        (
            BY_MACS,
            0.003,
            "2:4, its mildest scheme, would lose 0.003 for 512 MACs, 3.0 times what as many MACs lose in the weights "
            "that were pruned",
        ),
        (BY_PARAMS, 0.0005, "2:4, its mildest scheme, would lose 0.0005 for 512 zeros; the budget is met without it"),
    ],
)
def test_what_it_would_lose_is_compared_with_the_others(
    budget: Budget, loss: float, reason: str, result: CompressResult
) -> None:
    told = searched(result, budget, {"w0": (0.0, loss, 2 * loss)})
    (left,) = left_dense(told)
    assert (left.label, left.reason, left.by) == ("w0 (product0)", reason, "plan")
    page = compress_page(told)
    assert reason in page
    assert "What the plan left is pruned under a higher budget" in page


@pytest.mark.parametrize(("by_options", "decider"), [(True, "your options"), (False, "the weight itself")])
def test_what_the_options_left_is_told_from_what_cannot_be_pruned(
    result: CompressResult, *, by_options: bool, decider: str
) -> None:
    skip = Skip(
        key=WeightKey("w"), name="n", op="Gemm", shape=(2, 2), params=4, reason="a reason", by_options=by_options
    )
    page = compress_page(dataclasses.replace(result, inventory=dataclasses.replace(result.inventory, skips=(skip,))))
    assert f'<td class="s">{decider}</td><td class="why">a reason</td>' in page
    assert "What the plan left" not in page


def test_without_losses_the_strategy_is_named(result: CompressResult) -> None:
    told = dataclasses.replace(searched(result, BY_PARAMS, {}), losses=None)
    (left,) = left_dense(told)
    assert left.reason == f"the plan left it dense (schemes by {result.plan.strategy})"


def test_a_weight_of_many_zeros_has_no_scheme_left(result: CompressResult) -> None:
    told = searched(result, BY_PARAMS, {})
    first, *others = told.inventory.sites
    sites = (dataclasses.replace(first, zeros=first.params), *others)
    told = dataclasses.replace(told, inventory=dataclasses.replace(told.inventory, sites=sites))
    (left,) = left_dense(told)
    assert left.reason == "it was read with more zeros than any scheme gives"

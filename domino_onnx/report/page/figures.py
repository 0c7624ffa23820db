"""Which plots a report has: those for which the run has values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from markupsafe import Markup

from domino_onnx.errors import BudgetError
from domino_onnx.report.page.plots import Points, bars, line
from domino_onnx.report.results import CompressResult
from domino_onnx.scheme import Budget, NMScheme, WeightKey
from domino_onnx.search import search_sensitivity

__all__ = ["Figure", "figures"]

_SHARES = 12
"""Budgets of the front, evenly up to the sparsest; that of the file joins them."""
_ROUNDING = 1e-9
_PLACES = "weights, in the order of the graph"


class Figure(NamedTuple):
    """A heading, what the plot shows, and the plot."""

    heading: str
    caption: str
    plot: Markup


def figures(result: CompressResult) -> Iterator[Figure]:
    """From the whole model to the way there."""
    for make in (_sizes, _losses, _front, _fall, _finetuning):
        figure = make(result)
        if figure is not None:
            yield figure


def _sizes(result: CompressResult) -> Figure | None:
    records = result.weights
    if len(records) < 2:  # one bar tells nothing
        return None
    parts = [[record.params - record.zeros for record in records], [record.zeros for record in records]]
    plot = bars("numbers in each weight, kept and zeros", parts, _PLACES, "numbers", as_percent=False)
    return Figure("Size of each weight", "Numbers in each weight. Strong: those that are kept. Faint: zeros.", plot)


def _losses(result: CompressResult) -> Figure | None:
    lost = [record.error or 0.0 for record in result.weights]
    if not any(lost):
        return None
    plot = bars("energy that each weight's output lost", [lost], _PLACES, "lost", as_percent=True)
    return Figure("Losses along the network", "Share of its output's energy that each weight lost by its refit.", plot)


def _front(result: CompressResult) -> Figure | None:
    """The best plan for each of some budgets, and the plan that was taken."""
    table, inventory = result.losses, result.inventory
    if table is None or not inventory.sites:
        return None

    def point(schemes: Mapping[WeightKey, NMScheme]) -> tuple[float, float]:
        chosen = ((site, schemes.get(site.key, site.schemes[0])) for site in inventory.sites)
        losses = (table.losses[site.key][site.schemes.index(scheme)] for site, scheme in chosen)
        return inventory.sparsity(schemes), math.fsum(losses)

    points: set[tuple[float, float]] = set()
    sparsest = inventory.sparsity({site.key: site.schemes[-1] for site in inventory.sites})
    evenly = [sparsest * step / _SHARES for step in range(_SHARES + 1)]
    own = inventory.sparsity(result.plan.schemes) * (1 - _ROUNDING)
    for reduction in sorted({*evenly, own}):
        budget = Budget(measure="params", reduction=reduction)
        try:
            points.add(point(search_sensitivity(inventory, [budget], table)))
        except BudgetError:  # by a rounding beyond what there is
            continue
    plot = line(
        "measured loss over the share of zeros",
        sorted(points),
        "zeros",
        "sum of losses",
        chosen=[point(result.plan.schemes)],
        percents=(True, False),
    )
    caption = "The least sum of measured losses for each share of zeros. Marked: this file."
    return Figure("What each budget would cost", caption, plot)


def _fall(result: CompressResult) -> Figure | None:
    falls: Points = [(float(each.step), each.achieved[0]) for each in result.decisions if each.achieved]
    if len(falls) < 2:  # no line
        return None
    plot = line("the budget over the steps of the search", falls, "step", "reduced by", percents=(False, True))
    return Figure("The domino fall", "What the search had reduced the model by, over its steps.", plot)


def _finetuning(result: CompressResult) -> Figure | None:
    finetuned = result.finetuned
    if finetuned is None:
        return None
    curve = [(0.0, finetuned.before)]
    curve += [(float(each.step), each.held_out) for each in finetuned.history if each.held_out is not None]
    best = [(float(finetuned.best_step), finetuned.after)]
    plot = line("held-out loss over the steps", curve, "step", "loss", chosen=best, percents=(False, False))
    return Figure("Finetuning", "Loss of held-out samples against the dense model. Marked: the best state.", plot)

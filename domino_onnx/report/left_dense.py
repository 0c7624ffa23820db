"""Which weights stayed dense, and why: those that can't be pruned, and those that the plan left."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from domino_onnx.report.results import CompressResult, WeightRecord
from domino_onnx.report.text import millions
from domino_onnx.scheme import NMScheme, Site, WeightKey
from domino_onnx.search import LossTable

__all__ = ["Decider", "LeftDense", "left_dense"]


Decider = Literal["plan", "options", "kind"]
"""Who left it: the search, the user, or what it is, whatever the options are."""


class LeftDense(NamedTuple):
    """A weight that has no scheme."""

    label: str
    op: str
    shape: tuple[int, ...]
    reason: str
    by: Decider


def left_dense(result: CompressResult) -> tuple[LeftDense, ...]:
    """First those that the plan left, in the order of the graph, then those that can't be pruned."""
    chosen = (
        LeftDense(record.label, record.op, record.shape, _why(result, record), "plan")
        for record in result.weights
        if record.scheme.is_dense
    )
    skipped = (
        LeftDense(skip.label, skip.op, skip.shape, skip.reason, "options" if skip.by_options else "kind")
        for skip in result.inventory.skips
    )
    return (*chosen, *skipped)


def _why(result: CompressResult, record: WeightRecord) -> str:
    """What its mildest scheme would have lost, next to what saving as much loses elsewhere in the plan."""
    site = result.inventory.site(WeightKey(record.weight, record.scope))
    if site is not None and len(site.choices) == 1:
        return "it was read with more zeros than any scheme gives"
    if site is None or result.losses is None:
        return f"the plan left it dense (schemes by {result.plan.strategy})"
    mildest = site.choices[1]
    by_macs = bool(result.plan.budgets) and all(budget.measure == "flops" for budget in result.plan.budgets)
    saved, unit = _saved(site, mildest, by_macs=by_macs), "MACs" if by_macs else "zeros"
    loss = result.losses.losses[site.key][site.schemes.index(mildest)]
    usual = _usual_loss(result, result.losses, by_macs=by_macs) * saved
    said = f"{mildest}, its mildest scheme, would lose {loss:.2g} for {millions(round(saved))} {unit}"
    if usual and loss > usual:
        return f"{said}, {_times(loss / usual)} times what as many {unit} lose in the weights that were pruned"
    return f"{said}; the budget is met without it"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _usual_loss(result: CompressResult, table: LossTable, *, by_macs: bool) -> float:
    """Measured, for one zero or MAC that is saved, on average over the weights that were pruned; 0 where none was."""
    chosen = ((site, result.plan.schemes.get(site.key, site.schemes[0])) for site in result.inventory.sites)
    pruned = [(site, scheme) for site, scheme in chosen if scheme in site.choices[1:]]
    saved = math.fsum(_saved(site, scheme, by_macs=by_macs) for site, scheme in pruned)
    lost = math.fsum(table.losses[site.key][site.schemes.index(scheme)] for site, scheme in pruned)
    return lost / saved if saved else 0.0


def _saved(site: Site, scheme: NMScheme, *, by_macs: bool) -> float:
    """New zeros, or the MACs that they save."""
    zeros = site.zeros_under(scheme) - site.zeros
    return zeros / site.params * (site.macs or 0) if by_macs else zeros

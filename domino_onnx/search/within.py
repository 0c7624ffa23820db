"""The schemes that lose least within the budgets: where every strategy that weighs losses ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from domino_onnx.scheme import Budget, Inventory, NMScheme, WeightKey
from domino_onnx.search.knapsack import Limit, choose

__all__ = ["least_loss"]

_log = logging.getLogger(__name__)


def least_loss(
    inventory: Inventory, budgets: Sequence[Budget], losses: Sequence[Sequence[float]]
) -> Mapping[WeightKey, NMScheme]:
    """One scheme a site, the least total loss among all choices that meet the budgets.

    Where a proof of that would take too long, the log says how much less another choice may lose.

    Parameters
    ----------
    losses
        For each site, for each of its schemes.

    Raises
    ------
    BudgetError
        If a budget is out of reach; `require_reachable` says in the user's words what can be reached.
    """
    chosen = choose(losses, [_limit(inventory, budget) for budget in budgets])
    if chosen.gap:
        _log.info("schemes lose %.6g together; another choice may lose less, by %.2g at most", chosen.loss, chosen.gap)
    return {site.key: site.schemes[option] for site, option in zip(inventory.sites, chosen.options, strict=True)}


def _limit(inventory: Inventory, budget: Budget) -> Limit:
    """What the budget leaves to the sites, and what each of their schemes takes of it."""
    costs = [[budget.kept_by(site, scheme) for scheme in site.schemes] for site in inventory.sites]
    return Limit(name=budget.measure, costs=costs, most=budget.limit_for_sites(inventory))

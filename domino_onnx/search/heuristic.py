"""Strategies that need neither data nor weight values: `uniform` and `erk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domino_onnx.scheme import Budget, Inventory, NMScheme, Site, WeightKey
from domino_onnx.search.erk import erk_densities
from domino_onnx.search.knapsack import choose

__all__ = ["search_erk", "search_uniform"]


def search_uniform(inventory: Inventory, budget: Budget) -> Mapping[WeightKey, NMScheme]:
    """The same density everywhere, as near as the pools and the budget allow.

    Where no single scheme meets the budget (weights that can't be pruned have to be made up for, and pools have gaps),
    as few weights as possible get the next sparser one.

    Raises
    ------
    BudgetError
        If the budget is out of reach.
    """
    amounts = [budget.amount(site) for site in inventory.sites]
    density = budget.limit_for_sites(inventory) / max(sum(amounts), 1)
    return _closest(inventory, budget, [density] * len(amounts))


def search_erk(inventory: Inventory, budget: Budget) -> Mapping[WeightKey, NMScheme]:
    """Erdos-Renyi-Kernel densities, rounded to schemes so that the budget holds.

    Raises
    ------
    BudgetError
        If the budget is out of reach.
    """
    return _closest(inventory, budget, _erk_for(inventory, budget))


def _erk_for(inventory: Inventory, budget: Budget) -> list[float]:
    """ERK shares out parameters; the share that spends the budget, whatever it measures, is bisected."""
    shapes = [site.layout.shape for site in inventory.sites]
    amounts = [budget.amount(site) for site in inventory.sites]
    limit = budget.limit_for_sites(inventory)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        densities = erk_densities(shapes, middle)
        spent = sum(density * amount for density, amount in zip(densities, amounts, strict=True))
        low, high = (middle, high) if spent <= limit else (low, middle)
    return erk_densities(shapes, low)


def _closest(inventory: Inventory, budget: Budget, densities: Sequence[float]) -> Mapping[WeightKey, NMScheme]:
    """The schemes within the budget that fall short of `densities` least, by squared share of each weight."""
    budget.require_reachable(inventory)
    costs = [[scheme.kept(budget.amount(site)) for scheme in site.schemes] for site in inventory.sites]
    losses = [_shortfalls(site, density) for site, density in zip(inventory.sites, densities, strict=True)]
    chosen = choose(costs, losses, budget.limit_for_sites(inventory))
    return {site.key: site.schemes[option] for site, option in zip(inventory.sites, chosen, strict=True)}


def _shortfalls(site: Site, density: float) -> list[float]:
    return [site.params * max(density - float(scheme.density), 0.0) ** 2 for scheme in site.schemes]

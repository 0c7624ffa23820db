"""Strategies that need neither data nor weight values: `uniform` and `erk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domino_onnx.scheme import Budget, Inventory, NMScheme, Site, WeightKey, require_reachable
from domino_onnx.search.erk import erk_densities
from domino_onnx.search.within import least_loss

__all__ = ["search_erk", "search_uniform"]


def search_uniform(inventory: Inventory, budgets: Sequence[Budget]) -> Mapping[WeightKey, NMScheme]:
    """The same density everywhere, as near as the pools and the budgets allow.

    Where no single scheme meets the budgets (weights that can't be pruned have to be made up for, and pools have gaps),
    as few weights as possible get the next sparser one.

    Raises
    ------
    BudgetError
        If a budget is out of reach.
    """
    require_reachable(budgets, inventory)
    density = min((_density(inventory, budget) for budget in budgets), default=1.0)
    return _closest(inventory, budgets, [density] * len(inventory.sites))


def search_erk(inventory: Inventory, budgets: Sequence[Budget]) -> Mapping[WeightKey, NMScheme]:
    """Erdos-Renyi-Kernel densities, rounded to schemes so that the budgets hold.

    Raises
    ------
    BudgetError
        If a budget is out of reach.
    """
    require_reachable(budgets, inventory)
    return _closest(inventory, budgets, _erk_for(inventory, budgets))


def _density(inventory: Inventory, budget: Budget) -> float:
    """What spends the budget if every site has it; sites that have more zeros already leave the others more."""
    limit, sites = budget.limit_for_sites(inventory), inventory.sites
    while True:
        density = limit / max(sum(budget.amount(site) for site in sites), 1)
        above = tuple(site for site in sites if budget.kept_by(site) >= density * budget.amount(site))
        if len(above) == len(sites):
            return min(density, 1.0)
        limit -= sum(budget.kept_by(site) for site in sites) - sum(budget.kept_by(site) for site in above)
        sites = above


def _erk_for(inventory: Inventory, budgets: Sequence[Budget]) -> list[float]:
    """ERK shares out parameters; the share at which the first budget is spent, whatever they measure, is bisected."""
    shapes = [site.layout.shape for site in inventory.sites]
    amounts = [[(budget.amount(site), budget.kept_by(site)) for site in inventory.sites] for budget in budgets]
    limits = [budget.limit_for_sites(inventory) for budget in budgets]
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        densities = erk_densities(shapes, middle)
        within = all(_spent(densities, amount) <= limit for amount, limit in zip(amounts, limits, strict=True))
        low, high = (middle, high) if within else (low, middle)
    return erk_densities(shapes, low)


def _spent(densities: Sequence[float], amounts: Sequence[tuple[int, int]]) -> float:
    """What the densities keep of each (amount, what is left of it dense)."""
    return sum(min(density * amount, dense) for density, (amount, dense) in zip(densities, amounts, strict=True))


def _closest(
    inventory: Inventory, budgets: Sequence[Budget], densities: Sequence[float]
) -> Mapping[WeightKey, NMScheme]:
    """The schemes within the budgets that fall short of `densities` least, by squared share of each weight."""
    losses = [_shortfalls(site, density) for site, density in zip(inventory.sites, densities, strict=True)]
    return least_loss(inventory, budgets, losses)


def _shortfalls(site: Site, density: float) -> list[float]:
    return [site.params * max(density - float(scheme.density), 0.0) ** 2 for scheme in site.schemes]

"""DominoSearch's fall with measured losses in place of magnitudes.

The pull on every site is the same and grows from step to step; what resists it is the loss that a site's next scheme
adds, for each unit of the budget that it frees. Votes and penalties that approximate that loss in the paper are not
needed. What the fall overshoots at its end is given back, as in `domino`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from domino_onnx.scheme import Budget, Inventory, NMScheme, Site, WeightKey, require_reachable
from domino_onnx.search.domino import Decision, DominoResult
from domino_onnx.search.sensitivity import LossTable

__all__ = ["search_measured_domino"]


def search_measured_domino(inventory: Inventory, budgets: Sequence[Budget], table: LossTable) -> DominoResult:
    """Let the site that resists least fall to its next scheme, until the budgets are met.

    Raises
    ------
    BudgetError
        If a budget is out of reach.
    """
    require_reachable(budgets, inventory)
    fall = _Fall(inventory, budgets, table)
    while not fall.met():
        fall.step()
    fall.give_back()
    return DominoResult(schemes=fall.schemes, decisions=tuple(fall.decisions), steps=fall.steps)


class _Fall:
    def __init__(self, inventory: Inventory, budgets: Sequence[Budget], table: LossTable) -> None:
        self._inventory = inventory
        self._budgets = budgets
        self._table = table
        self._totals = {budget.measure: max(budget.total(inventory), 1) for budget in budgets}
        self.schemes: dict[WeightKey, NMScheme] = {site.key: site.schemes[0] for site in inventory.sites}
        self.decisions: list[Decision] = []
        self.steps = 0

    def met(self) -> bool:
        return all(budget.is_met(self._inventory, self.schemes) for budget in self._budgets)

    def step(self) -> None:
        """One fall: of the site, and as many schemes down, as costs least for what it frees."""
        moves = [
            (self._resistance(site, scheme), place, scheme)
            for place, site in enumerate(self._inventory.sites)
            for scheme in site.choices[site.choices.index(self.schemes[site.key]) + 1 :]
        ]
        _, place, scheme = min(moves, key=lambda move: move[:2])
        self.steps += 1
        self._move(self._inventory.sites[place], scheme, "scheme")

    def give_back(self) -> None:
        """Raise again, latest fall first, what the budgets leave room for."""
        for decision in reversed(tuple(self.decisions)):
            site = next(site for site in self._inventory.sites if site.key == decision.key)
            for scheme in site.choices[: site.choices.index(self.schemes[site.key])]:
                trial = {**self.schemes, site.key: scheme}
                if all(budget.is_met(self._inventory, trial) for budget in self._budgets):
                    self._move(site, scheme, "give-back")
                    break

    def _move(self, site: Site, scheme: NMScheme, kind: Literal["scheme", "give-back"]) -> None:
        self.schemes[site.key] = scheme
        achieved = tuple(budget.achieved(self._inventory, self.schemes) for budget in self._budgets)
        self.decisions.append(Decision(step=self.steps, kind=kind, key=site.key, scheme=scheme, achieved=achieved))

    def _resistance(self, site: Site, scheme: NMScheme) -> float:
        """Added loss a share of the budgets that is freed."""
        losses, now = self._table.losses[site.key], self.schemes[site.key]
        added = losses[site.schemes.index(scheme)] - losses[site.schemes.index(now)]
        freed = sum(
            (budget.kept_by(site, now) - budget.kept_by(site, scheme)) / self._totals[budget.measure]
            for budget in self._budgets
        )
        return added / freed if freed > 0 else float("inf")

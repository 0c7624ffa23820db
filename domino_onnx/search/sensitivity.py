"""The schemes that measured losses add up to least for, under the budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from domino_onnx.scheme import Budget, FrozenMapping, Inventory, NMScheme, WeightKey, require_reachable
from domino_onnx.search.within import least_loss

__all__ = ["LossTable", "search_sensitivity"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SiteLosses:
    """What each scheme of one site costs, in the order of `Site.schemes`.

    Attributes
    ----------
    losses
        At the model's outputs: finite, and never falling.
    energies
        What the site's own output loses of its energy, as a share; 0 for dense.
    """

    losses: tuple[float, ...]
    energies: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LossTable:
    """What each scheme of each site costs, the others being dense.

    Attributes
    ----------
    losses
        For each site, in the order of the graph, one number a scheme, in the order of `Site.schemes`: densest first,
        never falling, finite.
    """

    losses: FrozenMapping[WeightKey, tuple[float, ...]]

    def mended(self, least: float) -> LossTable:
        """The same for a network whose layers make up for what was lost before them, when they are refitted in order.

        The first site's losses count `least` of themselves, the last one's fully, those between a power in between.
        """
        last = max(len(self.losses) - 1, 1)
        losses = {
            key: tuple(loss * least ** (1 - place / last) for loss in losses)
            for place, (key, losses) in enumerate(self.losses.items())
        }
        return dataclasses.replace(self, losses=FrozenMapping(losses))


def search_sensitivity(
    inventory: Inventory, budgets: Sequence[Budget], table: LossTable
) -> Mapping[WeightKey, NMScheme]:
    """The choice of one scheme a site with the least total loss within the budgets, exact.

    Raises
    ------
    BudgetError
        If a budget is out of reach.
    """
    require_reachable(budgets, inventory)
    return least_loss(inventory, budgets, [table.losses[site.key] for site in inventory.sites])

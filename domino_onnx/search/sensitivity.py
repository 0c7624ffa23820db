"""The schemes that measured losses add up to least for, under the budgets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from domino_onnx.scheme import Budget, FrozenMapping, Inventory, NMScheme, WeightKey, require_reachable
from domino_onnx.search.within import least_loss

__all__ = ["LossTable", "Prediction", "search_sensitivity"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a plan is expected to cost at the model's outputs, before any finetuning.

    Attributes
    ----------
    loss
        In units of `LossTable.measure`.
    agreement
        Share of the samples that are expected to be classified as before; None if the outputs are no classes.
    """

    loss: float
    measure: str
    agreement: float | None

    def in_words(self) -> str:
        """For people."""
        if self.agreement is not None:
            return f"about {self.agreement:.0%} of the answers stay the same ({self.measure} {self.loss:.3g})"
        return f"a {self.measure} of about {self.loss:.2g} at the outputs"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LossTable:
    """What each scheme of each site costs, the others being dense.

    Attributes
    ----------
    losses
        For each site, in the order of the graph, one number a scheme, in the order of `Site.schemes`: densest first,
        never falling, finite.
    measure
        What they are: ``"KL"`` (nats) or ``"relative error"``.
    observed
        (loss, share of samples classified otherwise than before), measured together; none if there are no classes.
    """

    losses: FrozenMapping[WeightKey, tuple[float, ...]]
    measure: str
    observed: tuple[tuple[float, float], ...] = ()

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

    def total(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> float:
        """The losses of a plan's schemes added up, as if sites didn't act on each other."""
        return sum(
            self.losses[site.key][site.schemes.index(schemes[site.key])]
            for site in inventory.sites
            if schemes.get(site.key) in site.schemes
        )

    def predict(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> Prediction:
        """What a plan is expected to cost.

        The share of changed answers grows with the square root of a KL divergence (Pinsker's inequality gives the
        bound); the factor is what was observed.
        """
        loss = self.total(inventory, schemes)
        known = [(kl, changed) for kl, changed in self.observed if kl > 0]
        if not known:
            return Prediction(loss=loss, measure=self.measure, agreement=None)
        factor = sum(changed * math.sqrt(kl) for kl, changed in known) / sum(kl for kl, _ in known)
        return Prediction(loss=loss, measure=self.measure, agreement=max(1 - factor * math.sqrt(loss), 0.0))


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

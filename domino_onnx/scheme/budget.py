"""A measure and its limit: what a plan must come down to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from domino_onnx.errors import BudgetError, PlanError
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.nm import NMScheme
from domino_onnx.scheme.site import Inventory, Site, Skip

__all__ = ["Budget", "Measure"]

Measure = Literal["params", "flops"]
_OPTION: dict[Measure, str] = {"params": "--sparsity", "flops": "--flops-reduction"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Reduce `measure` by at least `reduction` (0 to 1), counted over all Conv, Gemm and MatMul weights.

    Weights that are skipped count too: they are kept whole, so the sites have to give more.
    """

    measure: Measure
    reduction: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.reduction) and 0 <= self.reduction < 1):
            raise BudgetError(
                f"{_OPTION[self.measure]} {self.reduction:g} is not between 0 and 1: write 0.875 for 87.5 %"
            )

    @classmethod
    def from_document(cls, value: object) -> Budget | None:
        """Read what `to_document` gave, from a plan or a manifest; None for null.

        Raises
        ------
        PlanError
            If it is anything else.
        """
        if value is None:
            return None
        if not isinstance(value, dict) or value.keys() != {"measure", "reduction"}:
            raise PlanError('the budget must be {"measure": "params" or "flops", "reduction": 0 to 1}')
        measure, reduction = value["measure"], value["reduction"]
        number = isinstance(reduction, int | float) and not isinstance(reduction, bool)
        if number and not 0 <= reduction < 1:
            raise PlanError(f"the budget's reduction is not between 0 and 1: {str(reduction)[:20]}")
        if measure not in ("params", "flops") or not number:
            raise PlanError('the budget must be {"measure": "params" or "flops", "reduction": 0 to 1}')
        return cls(measure=measure, reduction=float(reduction))

    def to_document(self) -> dict[str, object]:
        """The budget as JSON has it."""
        return dataclasses.asdict(self)

    def amount(self, weight: Site | Skip) -> int:
        """Parameters, or MACs, of a weight.

        Raises
        ------
        BudgetError
            For a FLOPs budget where the MACs are unknown.
        """
        if self.measure == "params":
            return weight.params
        if weight.macs is None:
            raise BudgetError(
                f"the MACs of {weight.name!r} (weight {str(weight.key)!r}) are unknown: shape inference stops before. "
                "Give the dynamic inputs' shapes (--input-shape NAME:1,3,224,224, or --data), or use --sparsity"
            )
        return weight.macs

    def total(self, inventory: Inventory) -> int:
        """The measure of the dense model."""
        return sum(self.amount(weight) for weight in inventory.counted)

    def limit(self, inventory: Inventory) -> int:
        """The most that may be left, skipped weights included."""
        total = self.total(inventory)
        return total - math.ceil(total * Fraction(repr(self.reduction)))  # as it was written: 0.9 is nine tenths

    def limit_for_sites(self, inventory: Inventory) -> int:
        """What `limit` leaves to the sites together; may be negative."""
        return self.limit(inventory) - sum(self.amount(skip) for skip in inventory.skips if skip.counted)

    def kept(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> int:
        """What is left under `schemes`; sites without one are dense."""
        sites = sum(
            schemes[site.key].kept(self.amount(site)) if site.key in schemes else self.amount(site)
            for site in inventory.sites
        )
        return sites + sum(self.amount(skip) for skip in inventory.skips if skip.counted)

    def achieved(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> float:
        """The reduction that `schemes` give, 0 to 1."""
        total = self.total(inventory)
        return 1 - self.kept(inventory, schemes) / total if total else 0.0

    def require_reachable(self, inventory: Inventory) -> None:
        """Raise BudgetError, saying what can be reached, if even the sparsest schemes keep too much."""
        sparsest = {site.key: site.schemes[-1] for site in inventory.sites}
        if self.kept(inventory, sparsest) <= self.limit(inventory):
            return
        if not inventory.sites:
            raise BudgetError(
                f"{_OPTION[self.measure]} {self.reduction:g} can't be reached: the model has no weight to prune; "
                "domino-onnx inspect lists its weights and says why"
            )
        best = math.floor(self.achieved(inventory, sparsest) * 10_000) / 10_000
        skipped = sum(self.amount(skip) for skip in inventory.skips if skip.counted)
        raise BudgetError(
            f"{_OPTION[self.measure]} {self.reduction:g} can't be reached on this model: at most {best:g} is possible, "
            f"with every one of the {len(inventory.sites)} sites at its sparsest scheme; weights that can't be pruned "
            f"hold {skipped / max(self.total(inventory), 1):.1%} of the {self.measure} (domino-onnx inspect says why). "
            f"Ask for {best:g} or less, or give sparser schemes (--m 32, --pool 1:32,2:32)"
        )

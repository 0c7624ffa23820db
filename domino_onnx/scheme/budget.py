"""Measures and their limits: what a plan must come down to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal

import msgspec

from domino_onnx.errors import BudgetError, DominoError
from domino_onnx.percentage import percent
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.nm import NMScheme
from domino_onnx.scheme.site import NO_SHAPES_IN_FUNCTIONS, Inventory, Site, Skip, macs_saved

__all__ = ["OPTION", "Budget", "Measure", "nothing_to_prune", "require_distinct", "require_reachable", "share_hint"]

Measure = Literal["params", "flops"]
OPTION: dict[Measure, str] = {"params": "--sparsity", "flops": "--flops-reduction"}
"""How the command line asks for a budget of each measure."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Reduce `measure` by at least `reduction` (0 to 1), counted over all Conv, Gemm and MatMul weights.

    Weights that are skipped count too: they keep all but the zeros they were read with, so the sites have to give more.

    Raises
    ------
    BudgetError
        If `measure` is another word, or `reduction` is no number from 0 to below 1.
    """

    measure: Measure
    reduction: Annotated[float, msgspec.Meta(ge=0, lt=1)]

    def __post_init__(self) -> None:
        if self.measure not in ("params", "flops"):
            raise BudgetError(
                f"a budget can't measure {self.measure!r}: "
                'write "params" for zeros among the weights, "flops" for MACs saved'
            )
        if not isinstance(self.reduction, int | float) or isinstance(self.reduction, bool):
            raise BudgetError(
                f"the reduction of a budget must be a number, not {self.reduction!r}: write 0.875 for 87.5 %"
            )
        if not 0 <= self.reduction < 1:
            problem = "would leave nothing" if self.reduction == 1 else "is not between 0 and 1"
            raise BudgetError(
                f"{OPTION[self.measure]} {_shown(self.reduction)} {problem}: {share_hint(self.reduction)}"
            )

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
            stops = "shape inference stops before. Give --data, or data.input_shapes in a recipe"
            why = NO_SHAPES_IN_FUNCTIONS if weight.in_function else stops
            raise BudgetError(f"the MACs of {weight.label} are unknown: {why}; or ask for a share of zeros instead")
        return weight.macs

    def total(self, inventory: Inventory) -> int:
        """The measure of the dense model."""
        return sum(self.amount(weight) for weight in inventory.counted)

    def limit(self, inventory: Inventory) -> int:
        """The most that may be left, skipped weights included."""
        total = self.total(inventory)
        return total - math.ceil(total * Fraction(repr(float(self.reduction))))  # as written: 0.9 is nine tenths

    def limit_for_sites(self, inventory: Inventory) -> int:
        """What `limit` leaves to the sites together; may be negative."""
        return self.limit(inventory) - self._kept_by_skips(inventory)

    def kept_by(self, weight: Site | Skip, scheme: NMScheme | None = None) -> int:
        """What is left of a weight under `scheme`; without one it is dense, and has the zeros it was read with."""
        amount, zeros = self.amount(weight), weight.zeros_under(scheme)
        return amount - (zeros if self.measure == "params" else macs_saved(weight, zeros) or 0)

    def kept(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> int:
        """What is left under `schemes`; sites without one are dense."""
        return sum(self.kept_by(weight, schemes.get(weight.key)) for weight in inventory.counted)

    def is_met(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> bool:
        """Whether `schemes` leave no more than the limit."""
        return self.kept(inventory, schemes) <= self.limit(inventory)

    def achieved(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> float:
        """The reduction that `schemes` give, 0 to 1."""
        total = self.total(inventory)
        return (total - self.kept(inventory, schemes)) / total if total else 0.0

    def achieved_at_least(self, inventory: Inventory, schemes: Mapping[WeightKey, NMScheme]) -> float:
        """The reduction that `schemes` give, rounded down to four digits: a budget of as much is met."""
        total = max(self.total(inventory), 1)
        return (total - self.kept(inventory, schemes)) * 10_000 // total / 10_000

    def is_reachable(self, inventory: Inventory) -> bool:
        """Whether the sparsest choice meets it."""
        return self.is_met(inventory, inventory.sparsest) and bool(inventory.counted or not self.reduction)

    def require_reachable(self, inventory: Inventory) -> None:
        """Raise BudgetError, saying what can be reached, if even the sparsest choice keeps too much."""
        if self.is_reachable(inventory):
            return
        if not inventory.sites:
            raise BudgetError(
                f"{OPTION[self.measure]} {self.reduction:g} can't be reached: {nothing_to_prune(inventory)}"
            )
        total = max(self.total(inventory), 1)
        best = self.achieved_at_least(inventory, inventory.sparsest)
        raise BudgetError(
            f"{OPTION[self.measure]} {self.reduction:g} can't be reached on this model: at most {best:g} is possible, "
            f"with {_all_of(len(inventory.sites))} at its sparsest; {self._kept(inventory, total)}. "
            f"Ask for {best:g} or less, or give sparser schemes (--pool 1:32,2:32)"
        )

    def _kept(self, inventory: Inventory, total: int) -> str:
        """What the weights keep that no budget reaches, by who left them."""
        asked = self._kept_by_skips(inventory, by_options=True)
        share = f"{percent(self._kept_by_skips(inventory, by_options=False) / total)} of the {self.measure}"
        said = f"weights that can't be pruned keep {share} (domino-onnx inspect says why)"
        return f"{said}, those that the options leave dense {percent(asked / total)}" if asked else said

    def _kept_by_skips(self, inventory: Inventory, *, by_options: bool | None = None) -> int:
        """Of all skips that count, or of those that the options left or didn't."""
        skips = (skip for skip in inventory.skips if skip.counted and by_options in (None, skip.by_options))
        return sum(map(self.kept_by, skips))


def require_reachable(budgets: Sequence[Budget], inventory: Inventory) -> None:
    """Raise BudgetError if one of the budgets is out of reach, or two are of one measure.

    Budgets that can be met one by one can be met together: what has the most zeros saves the most MACs.
    """
    require_distinct(budgets, BudgetError)
    for budget in budgets:
        budget.require_reachable(inventory)


def nothing_to_prune(inventory: Inventory) -> str:
    """Why no scheme changes anything: what the user asked for, or the model."""
    if any(skip.by_options for skip in inventory.skips):
        return "the options leave no weight to prune; give other patterns, or another target"
    return "the model has no weight to prune; domino-onnx inspect lists its weights and says why"


def _all_of(sites: int) -> str:
    return "the only site" if sites == 1 else f"every one of the {sites} sites"


def _shown(number: float) -> str:
    """A number in a message; integers of hundreds of digits are cut off."""
    return f"{max(min(number, 1e300), -1e300):g}"


def share_hint(number: float) -> str:
    """What to write instead of a number that is no share: 50 was meant as 50 %."""
    if 2 <= number < 100:
        return f"write {number / 100:g} or {number:g}%"
    return "write 0.875 or 87.5%"


def require_distinct(budgets: Sequence[Budget], error: type[DominoError]) -> None:
    """Raise `error` if two budgets are of one measure."""
    measures = [budget.measure for budget in budgets]
    if len(set(measures)) < len(measures):
        raise error(f"several budgets are of one measure: {', '.join(measures)}; give one each")

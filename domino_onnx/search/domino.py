"""DominoSearch (Sun et al., NeurIPS 2021, section 3): layer-wise N:M schemes found while a dense network shrinks.

Every site starts dense, N = M. The N largest weights of each group take part in the network and are pulled towards
zero; when enough groups have fewer than N weights above their threshold, N falls by one, and wherever N : M is a scheme
of the pool it becomes the site's scheme. Each move changes how strongly every site is pulled (`Factors`), so one
fall makes the next ones likelier, until the budgets are met.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, Protocol

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from domino_onnx.errors import BudgetError, OptionError
from domino_onnx.scheme import Budget, Inventory, NMScheme, WeightKey, require_reachable
from domino_onnx.search.factors import Factors
from domino_onnx.search.falling import FallingSite

__all__ = ["Decision", "DominoOptions", "DominoResult", "GradientSource", "search_domino"]

_log = logging.getLogger(__name__)
_MOST_WEIGHTS = 1 << 28
"""How many weights all vote. Of larger models a part does, which fits into memory."""
_FEWER_GROUPS = 1 << 14
"""Groups of each site that vote then: a share of three quarters of them has a standard error of 0.3 %."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DominoOptions:
    """Hyper-parameters; the values of the paper's authors in brackets.

    The defaults take the authors' pull of lr * decay * 20 penalties between two checks in two strides of 1 %, so that
    a search takes hundreds of steps, not tens of thousands.

    Raises
    ------
    OptionError
        If both weights are 0, so that nothing is pulled.
    """

    vote: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of the groups with under N weights above their threshold that lets N fall (0.75).",
        ),
    ] = 0.75
    lr: Annotated[float, Meta(gt=0, description="Learning rate of plain SGD (0.01).")] = 0.01
    decay: Annotated[float, Meta(gt=0, description="Strength of the pull to zero (0.1).")] = 1.0
    erk_weight: Annotated[float, Meta(ge=0, description="Weight of the ERK deficit in a site's factor (0.5).")] = 0.5
    flops_weight: Annotated[float, Meta(ge=0, description="Weight of the remaining FLOPs in the factor (0.5).")] = 0.5
    check_every: Annotated[int, Meta(ge=1, description="Steps between two checks (100).")] = 1
    penalise_every: Annotated[int, Meta(ge=1, description="Steps between two penalties (5).")] = 1
    patience: Annotated[
        int,
        Meta(ge=1, description="Checks without any fall before the pull is strengthened (the authors: 30,000 steps)."),
    ] = 100

    def __post_init__(self) -> None:
        if self.erk_weight == 0 == self.flops_weight:
            raise OptionError("erk_weight and flops_weight are both 0, so nothing falls: give one above 0")


class GradientSource(Protocol):
    """Where the data come in: the loss of one batch and its gradient, at the given masked weights."""

    def __call__(
        self, weights: Mapping[WeightKey, NDArray[np.float32]]
    ) -> tuple[float, Mapping[WeightKey, NDArray[np.float32]]]:
        """Both mappings hold arrays in the stored shape; each call takes the next batch."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One event of the search.

    Attributes
    ----------
    kind
        ``scheme``: the site got this scheme. ``give-back``: a move that the budgets turned out not to need was undone.
        ``strengthen``: nothing fell any more, so the pull was changed for all sites.
    achieved
        Reduction of each budget's measure after the event, 0 to 1.
    """

    step: int
    kind: Literal["scheme", "give-back", "strengthen"]
    key: WeightKey | None
    scheme: NMScheme | None
    achieved: tuple[float, ...]
    loss: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DominoResult:
    """Schemes that meet the budgets, the way there, and how many steps it took."""

    schemes: Mapping[WeightKey, NMScheme]
    decisions: tuple[Decision, ...]
    steps: int


def search_domino(
    inventory: Inventory,
    budgets: Sequence[Budget],
    weights: Callable[[WeightKey], NDArray[np.generic]],
    options: DominoOptions | None = None,
    gradients: GradientSource | None = None,
    progress: Callable[[Budget, float], None] | None = None,
) -> DominoResult:
    """Search the schemes of all sites.

    Parameters
    ----------
    budgets
        At most one a measure; all of them are met.
    weights
        Gives a site's weight as floats in its stored shape; the search works on a float32 copy.
    gradients
        With data; without, the pull alone decides.
    progress
        Called after each check with the budget that the largest share is missing of, and the reduction so far.

    Raises
    ------
    BudgetError
        If a budget is out of reach.
    """
    require_reachable(budgets, inventory)
    if not inventory.sites:
        return DominoResult(schemes={}, decisions=(), steps=0)
    search = _Search(inventory, budgets, weights, options or DominoOptions(), gradients)
    while not search.met:
        search.step()
        if progress is not None:
            progress(*search.least_met)
    search.give_back()
    return DominoResult(schemes=dict(search.schemes), decisions=tuple(search.decisions), steps=search.steps)


class _Search:
    """The state of one search; `step` is one iteration of the paper's algorithm 1."""

    def __init__(
        self,
        inventory: Inventory,
        budgets: Sequence[Budget],
        weights: Callable[[WeightKey], NDArray[np.generic]],
        options: DominoOptions,
        gradients: GradientSource | None,
    ) -> None:
        self.inventory = inventory
        self.budgets = budgets
        self.options = options
        self.gradients = gradients
        most = None if sum(site.params for site in inventory.sites) <= _MOST_WEIGHTS else _FEWER_GROUPS
        self.sites = [
            FallingSite(site, functools.partial(weights, site.key), signed=gradients is not None, most=most)
            for site in inventory.sites
        ]
        self.factors = Factors(self.sites, budgets, inventory, options.erk_weight, options.flops_weight)
        self.schemes = {site.key: site.schemes[0] for site in inventory.sites}
        self.decisions: list[Decision] = []
        self.steps = 0
        self.loss: float | None = None
        self._decay = options.decay
        self._quiet = 0

    @property
    def met(self) -> bool:
        return self._are_met_by(self.schemes)

    def _are_met_by(self, schemes: Mapping[WeightKey, NMScheme]) -> bool:
        return all(budget.is_met(self.inventory, schemes) for budget in self.budgets)

    @property
    def achieved(self) -> tuple[float, ...]:
        """Reduction of each budget's measure so far."""
        return tuple(budget.achieved(self.inventory, self.schemes) for budget in self.budgets)

    @property
    def least_met(self) -> tuple[Budget, float]:
        """The budget of which the smallest share is achieved, and what is; of equals the first."""
        reached = zip(self.budgets, self.achieved, strict=True)
        return min(reached, key=lambda pair: pair[1] / pair[0].reduction if pair[0].reduction else 1.0)

    def step(self) -> None:
        """Gradient, check, update: the check sees the weights before the update, as in the authors' code."""
        gradients = self._gradients()
        if self.steps % self.options.check_every == 0:
            self._check()
        penalise = self.steps % self.options.penalise_every == 0
        self.steps += 1
        if self.met:
            return
        for site in self.sites:
            pull = self._decay * self.factors[site.key] if penalise else 0.0
            site.update(self.options.lr, pull, gradients.get(site.key))

    def _gradients(self) -> Mapping[WeightKey, NDArray[np.float32]]:
        if self.gradients is None:
            return {}
        self.loss, gradients = self.gradients({site.key: site.masked_weight() for site in self.sites})
        return gradients

    def _check(self) -> None:
        fell = False
        for site in self.sites:
            if site.is_sparsest or not site.vote_passes(self.options.vote):
                continue
            fell = True
            scheme = site.fall()
            if scheme is not None:
                self.schemes[site.key] = scheme
                self.factors.renew()
                self._decide("scheme", site.key, scheme)
                if self.met:
                    return
        self._quiet = 0 if fell else self._quiet + 1
        if self._quiet >= self.options.patience:
            self._strengthen()

    def _strengthen(self) -> None:
        """Nothing falls any more: let the ERK part go if it holds sites back, else double the pull."""
        self._quiet = 0
        if not self.factors.drop_erk():
            self._decay *= 2
        pulled = any(self.factors[site.key] > 0 for site in self.sites if not site.is_sparsest)
        if not pulled or not np.isfinite(self._decay):
            raise BudgetError(
                "the search makes no move before the budgets are met: give another --pool, or search.strategy = 'erk' "
                "in a recipe"
            )
        self._decide("strengthen", None, None)

    def give_back(self) -> None:
        """Undo, latest first, moves that the budgets don't need: the last fall may overshoot by what a site weighs."""
        moved: dict[WeightKey, list[NMScheme]] = {}
        for decision in self.decisions:
            if decision.key is not None and decision.scheme is not None:
                moved.setdefault(decision.key, []).append(decision.scheme)
        for decision in reversed(tuple(self.decisions)):
            if decision.key is None or decision.scheme != self.schemes[decision.key]:
                continue
            earlier = [scheme for scheme in moved[decision.key] if scheme.density > decision.scheme.density]
            site = self.inventory.site(decision.key)
            before = earlier[-1] if earlier else site.schemes[0] if site else decision.scheme
            trial = {**self.schemes, decision.key: before}
            if self._are_met_by(trial):
                self.schemes = trial
                self._decide("give-back", decision.key, before)

    def _decide(
        self, kind: Literal["scheme", "give-back", "strengthen"], key: WeightKey | None, scheme: NMScheme | None
    ) -> None:
        achieved = self.achieved
        self.decisions.append(
            Decision(step=self.steps, kind=kind, key=key, scheme=scheme, achieved=achieved, loss=self.loss)
        )
        reached = ", ".join(f"{share:.4f}" for share in achieved)
        _log.info("step %d: %s %s %s, reduction %s", self.steps, kind, key or "", scheme or "", reached)

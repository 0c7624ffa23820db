"""DominoSearch (Sun et al., NeurIPS 2021, section 3): layer-wise N:M schemes found while a dense network shrinks.

Every site starts dense, N = M. The N largest weights of each group take part in the network and are pulled towards
zero; when enough groups have fewer than N weights above their threshold, N falls by one, and wherever N : M is a scheme
of the pool it becomes the site's scheme. Each such move changes how strongly every site is pulled (`_Factors`), so one
fall makes the next ones likelier, until the budgets are met.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, Protocol

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from domino_onnx.errors import BudgetError
from domino_onnx.scheme import Budget, Inventory, NMScheme, Site, WeightKey, require_reachable
from domino_onnx.search.erk import erk_densities
from domino_onnx.solve.mask import rank

__all__ = ["Decision", "DominoOptions", "DominoResult", "GradientSource", "search_domino"]

_log = logging.getLogger(__name__)
_Groups = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DominoOptions:
    """Hyper-parameters; the values of the paper's authors in brackets.

    The defaults take the authors' pull of lr * decay * 20 penalties between two checks in two strides of 1 %, so that
    a search takes hundreds of steps, not tens of thousands.
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
        self.sites = [_FallingSite(site, weights(site.key)) for site in inventory.sites]
        self.factors = _Factors(self.sites, budgets, inventory, options)
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
        if not np.isfinite(self._decay):
            raise BudgetError(
                "the search stands still before the budgets are met: give another --pool, or search.strategy = 'erk' "
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


class _FallingSite:
    """One site while it falls: its weights as (groups, M), the threshold of each group, and the current N."""

    def __init__(self, site: Site, weight: NDArray[np.generic]) -> None:
        self.key = site.key
        self.site = site
        self.m = math.lcm(*(scheme.m for scheme in site.schemes))  # every M divides the axis, so this does too
        self.n = self.m
        self.scheme = site.schemes[0]
        self._pool: dict[Fraction, NMScheme] = {scheme.density: scheme for scheme in site.choices}
        self._two_of_four = any(scheme.two_of_four for scheme in site.schemes)
        self._lowest = int(site.sparsest.density * self.m)
        self._groups: _Groups = site.layout.to_groups(weight, self.m).astype(np.float32)
        lower_half = np.sort(np.abs(self._groups), axis=1)[:, : self.m // 2]
        self._threshold: NDArray[np.float32] = lower_half.mean(axis=1, dtype=np.float32)
        self._rank()

    @property
    def is_sparsest(self) -> bool:
        return self.n <= self._lowest

    @property
    def zeros(self) -> int:
        """Zeros planned under the scheme that it has now."""
        return self.site.zeros_under(self.scheme)

    def masked_weight(self) -> NDArray[np.float32]:
        """The weight that takes part in the network, in its stored shape."""
        layout = self.site.layout
        rows = (self._groups * self._mask).reshape(layout.rows, layout.reduction)
        return layout.from_rows(rows)

    def vote_passes(self, vote: float) -> bool:
        """Whether at least the share `vote` of the groups has fewer than N weights above its threshold.

        A group has if the smallest weight inside its mask isn't above the threshold.
        """
        below = self._smallest_kept <= self._threshold
        return int(np.count_nonzero(below)) >= vote * len(below)

    def fall(self) -> NMScheme | None:
        """Lower N by one; the scheme that N : M now is, if the pool has it."""
        self.n -= 1
        self._rank()
        scheme = self._pool.get(Fraction(self.n, self.m))
        if scheme is not None:
            self.scheme = scheme
        return scheme

    def update(self, lr: float, pull: float, gradient: NDArray[np.float32] | None) -> None:
        """One SGD step of the survivors: ``w -= lr * (gradient + pull * w)``."""
        if pull == 0.0 and gradient is None:
            return
        change = np.float32(pull) * self._groups
        if gradient is not None:
            change += self.site.layout.to_groups(gradient, self.m)
        change *= np.float32(lr)
        change *= self._mask
        self._groups -= change
        self._rank()

    def _rank(self) -> None:
        """Choose the N largest of each group again, of equals the ones further left.

        Where the schemes want two of each four, so do the Ns between them, from M/2 on.
        """
        scheme = NMScheme(self.n, self.m, self._two_of_four and 2 * self.n <= self.m)
        self._mask, self._smallest_kept = rank(np.abs(self._groups), scheme)


class _Factors:
    """How strongly each site is pulled: ERK deficit and remaining FLOPs, each scaled to a maximum of 1 (equation 7).

    The ERK densities are those of the largest reduction among the budgets, so that the pull lasts until all are met.
    """

    def __init__(
        self, sites: Iterable[_FallingSite], budgets: Sequence[Budget], inventory: Inventory, options: DominoOptions
    ) -> None:
        self._sites = list(sites)
        self._options = options
        self._erk_weight = options.erk_weight
        params = sum(site.site.params for site in self._sites)
        skipped = sum(skip.params - skip.zeros for skip in inventory.skips if skip.counted)
        target = 1 - max((budget.reduction for budget in budgets), default=0.0)
        wanted = max(target * inventory.params - skipped, 0) / max(params, 1)
        densities = erk_densities([site.site.layout.shape for site in self._sites], wanted)
        self._erk_sparsity = {site.key: 1 - density for site, density in zip(self._sites, densities, strict=True)}
        macs = [site.site.macs for site in self._sites]
        known = None not in macs
        self._flops = {site.key: (site.site.macs or 0) if known else site.site.params for site in self._sites}
        self._factors: dict[WeightKey, float] = {}
        self.renew()

    def __getitem__(self, key: WeightKey) -> float:
        return self._factors[key]

    def renew(self) -> None:
        """After a site has got a new scheme."""
        params = {site.key: site.site.params for site in self._sites}
        deficit = {site.key: self._erk_sparsity[site.key] - site.zeros / params[site.key] for site in self._sites}
        flops = {
            site.key: self._flops[site.key] * ((params[site.key] - site.zeros) / params[site.key])
            for site in self._sites
        }
        erk_part = _scaled(deficit) if max(deficit.values()) >= _NO_DEFICIT else dict.fromkeys(deficit, 0.0)
        flops_part = _scaled(flops)
        self._factors = {
            key: self._erk_weight * erk_part[key] + self._options.flops_weight * flops_part[key] for key in deficit
        }

    def drop_erk(self) -> bool:
        """Let FLOPs alone decide from here on; False if they do already."""
        if self._erk_weight == 0 or self._options.flops_weight == 0:
            return False
        self._erk_weight = 0.0
        self.renew()
        return True


_NO_DEFICIT = 0.01
"""Below this largest deficit the authors' code drops the ERK part."""


def _scaled(values: Mapping[WeightKey, float]) -> dict[WeightKey, float]:
    largest = max(abs(value) for value in values.values())
    return {key: value / largest if largest else 0.0 for key, value in values.items()}

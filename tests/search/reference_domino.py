"""DominoSearch, slow and plain: lists of float32 scalars, one group after the other.

Written from the description of the method, not from `domino_onnx.search`; it is what that is compared with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

Pair = tuple[int, int]
Event = tuple[int | None, str, int | None, Pair | None]
Gradient = Callable[[list[list[np.float32]]], list[list[np.float32]]]


@dataclasses.dataclass
class RefSite:
    """A weight as a flat list, the flat indices of its groups, and its schemes from dense to sparse."""

    shape: tuple[int, ...]
    values: list[np.float32]
    groups: list[list[int]]
    schemes: list[Pair]
    macs: int | None

    @property
    def params(self) -> int:
        return len(self.values)

    @property
    def group_size(self) -> int:
        """Whole groups of every scheme; the least such number."""
        return next(size for size in range(1, 10_000) if not any(size % m for _, m in self.schemes))


@dataclasses.dataclass
class RefOptions:
    vote: float = 0.75
    lr: float = 0.01
    decay: float = 1.0
    erk_weight: float = 0.5
    flops_weight: float = 0.5
    check_every: int = 1
    penalise_every: int = 1
    patience: int = 100


def erk_sparsities(sites: Sequence[RefSite], kept_params: float) -> list[float]:
    """1 - eps * sum(shape) / prod(shape), dense where that density would pass 1."""
    scores = [sum(site.shape) / math.prod(site.shape) for site in sites]
    dense = [False] * len(sites)
    while not all(dense):
        left = kept_params - sum(site.params for site, whole in zip(sites, dense, strict=True) if whole)
        weight = sum(s * site.params for s, site, whole in zip(scores, sites, dense, strict=True) if not whole)
        eps = max(left, 0.0) / weight
        over = [not whole and eps * score > 1 for score, whole in zip(scores, dense, strict=True)]
        if not any(over):
            return [0.0 if whole else 1 - eps * score for score, whole in zip(scores, dense, strict=True)]
        worst = max(score for score, too_much in zip(scores, over, strict=True) if too_much)
        dense = [whole or score == worst for score, whole in zip(scores, dense, strict=True)]
    return [0.0] * len(sites)


def reference_domino(
    sites: Sequence[RefSite],
    *,
    measure: str,
    reduction: float,
    skipped_amount: int,
    skipped_params: int,
    macs_known: bool,
    options: RefOptions,
    gradient: Gradient | None,
    max_steps: int = 20_000,
) -> tuple[list[Event], list[Pair]]:
    """All events as (step, kind, site, scheme), and the schemes at the end; a give-back belongs to no step."""
    return _Reference(sites, measure, reduction, skipped_amount, skipped_params, macs_known, options, gradient).run(
        max_steps
    )


class _Reference:
    def __init__(
        self,
        sites: Sequence[RefSite],
        measure: str,
        reduction: float,
        skipped_amount: int,
        skipped_params: int,
        macs_known: bool,
        options: RefOptions,
        gradient: Gradient | None,
    ) -> None:
        self.sites, self.options, self.gradient = list(sites), options, gradient
        self.measure, self.skipped_amount, self.macs_known = measure, skipped_amount, macs_known
        self.weights = [list(site.values) for site in sites]
        self.n = [site.group_size for site in sites]
        self.scheme = [site.schemes[0] for site in sites]
        self.amounts = [site.params if measure == "params" else int(site.macs or 0) for site in sites]
        self.limit = math.floor((sum(self.amounts) + skipped_amount) * (1 - reduction) + 1e-9)
        all_params = sum(site.params for site in sites) + skipped_params
        self.erk = erk_sparsities(sites, max((1 - reduction) * all_params - skipped_params, 0.0))
        self.erk_weight, self.decay = options.erk_weight, options.decay
        self.thresholds = [
            [self._mean_of_small(weight, group, site.group_size) for group in site.groups]
            for site, weight in zip(self.sites, self.weights, strict=True)
        ]
        self.events: list[Event] = []
        self.moves: list[tuple[int, Pair, Pair]] = []
        self.strengthened = 0

    @staticmethod
    def _mean_of_small(weight: list[np.float32], group: list[int], m: int) -> np.float32:
        small = sorted(abs(weight[index]) for index in group)[: m // 2]
        return np.float32(sum(float(value) for value in small) / len(small))

    def met(self, schemes: Sequence[Pair] | None = None) -> bool:
        kept = sum(
            math.ceil(Fraction(a * n, m)) for a, (n, m) in zip(self.amounts, schemes or self.scheme, strict=True)
        )
        return kept + self.skipped_amount <= self.limit

    def factors(self) -> list[float]:
        densities = [n / m for n, m in self.scheme]
        deficits = [erk - (1 - density) for erk, density in zip(self.erk, densities, strict=True)]
        largest = max(abs(deficit) for deficit in deficits)
        use_erk = max(deficits) >= 0.01
        work = [
            (site.macs if self.macs_known else site.params) * density  # type: ignore[operator]
            for site, density in zip(self.sites, densities, strict=True)
        ]
        return [
            (self.erk_weight * deficit / largest if use_erk else 0.0) + self.options.flops_weight * f / max(work)
            for deficit, f in zip(deficits, work, strict=True)
        ]

    def mask(self, index: int) -> list[bool]:
        site, weight = self.sites[index], self.weights[index]
        kept = [False] * len(weight)
        for group in site.groups:
            ranked = sorted(range(len(group)), key=lambda place: (-abs(weight[group[place]]), place))
            for place in ranked[: self.n[index]]:
                kept[group[place]] = True
        return kept

    def wants_less(self, index: int) -> bool:
        votes = 0
        for group, threshold in zip(self.sites[index].groups, self.thresholds[index], strict=True):
            count = sum(1 for place in group if abs(self.weights[index][place]) > threshold)
            votes += count < self.n[index]
        return votes / len(self.sites[index].groups) >= self.options.vote

    def check(self, step: int) -> tuple[bool, bool]:
        """Whether any N fell, and whether the budget is met."""
        fell = False
        for index, site in enumerate(self.sites):
            m = site.group_size
            last_n, last_m = site.schemes[-1]
            if Fraction(self.n[index], m) <= Fraction(last_n, last_m) or not self.wants_less(index):
                continue
            self.n[index] -= 1
            fell = True
            for pair in site.schemes:
                if Fraction(*pair) == Fraction(self.n[index], m):
                    self.moves.append((index, self.scheme[index], pair))
                    self.scheme[index] = pair
                    self.events.append((step, "scheme", index, pair))
                    self.factor = self.factors()
                    if self.met():
                        return True, True
        return fell, False

    def update(self, step: int, gradients: list[list[np.float32]] | None) -> None:
        lr = np.float32(self.options.lr)
        for index, weight in enumerate(self.weights):
            penalised = step % self.options.penalise_every == 0
            pull = np.float32(self.decay * self.factor[index] if penalised else 0.0)
            mask = self.mask(index)
            for place in range(len(weight)):
                if mask[place]:
                    g = np.float32(0) if gradients is None else gradients[index][place]
                    weight[place] = weight[place] - lr * (g + pull * weight[place])

    def strengthen(self, step: int) -> None:
        if self.strengthened == 0:
            self.erk_weight = 0.0
        else:
            self.decay *= 2
        self.strengthened += 1
        self.factor = self.factors()
        self.events.append((step, "strengthen", None, None))

    def give_back(self) -> None:
        for index, before, after in reversed(self.moves):
            if self.scheme[index] != after:
                continue
            trial = list(self.scheme)
            trial[index] = before
            if self.met(trial):
                self.scheme = trial
                self.events.append((None, "give-back", index, before))

    def run(self, max_steps: int) -> tuple[list[Event], list[Pair]]:
        self.factor = self.factors()
        idle = 0
        if self.met():
            return self.events, self.scheme
        for step in range(max_steps):
            gradients = None
            if self.gradient is not None:
                masks = [self.mask(index) for index in range(len(self.sites))]
                masked = [
                    [value if kept else np.float32(0) for value, kept in zip(weight, mask, strict=True)]
                    for weight, mask in zip(self.weights, masks, strict=True)
                ]
                gradients = self.gradient(masked)
            if step % self.options.check_every == 0:
                fell, done = self.check(step)
                if done:
                    self.give_back()
                    return self.events, self.scheme
                idle = 0 if fell else idle + 1
                if idle >= self.options.patience:
                    idle = 0
                    self.strengthen(step)
            self.update(step, gradients)
        raise AssertionError("the reference did not meet its budget")

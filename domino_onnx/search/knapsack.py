"""The choice of one scheme a site within one or two limits: a multiple-choice knapsack, solved exactly.

Dynamic programming with labels (Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, chapters 9 and 11): sites are
taken one after another, and a label is a choice for those taken so far. A label is dropped if another one is as cheap
or cheaper in every measure and loses no more, and also if it can't become better than the best choice known, by the
bounds in `prices`. The first pass keeps few labels and finds a good choice; the next ones keep more and prove it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import BudgetError
from domino_onnx.search.pareto import dominated
from domino_onnx.search.prices import Bounds

__all__ = ["Choice", "Limit", "choose"]

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
_Options = NDArray[np.intp]
_Number = TypeVar("_Number", np.float64, np.int64)

_EFFORTS = (1 << 15, 1 << 18, 1 << 22)
"""The most extensions of labels over all sites, pass by pass; if it comes to the last, that takes some seconds."""

_DIGITS = 40
"""Losses are counted in units of 2^-40 of the best known choice's: so sums are exact, and ties are ties."""

_ROUNDING = 0.5
"""Units by which a bound may be off, since it is computed in floating point."""

_MEASURES = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What every option costs in one measure, and the most that may be spent.

    Attributes
    ----------
    name
        Of the measure, for messages.
    costs
        For each site, for each of its options.
    most
        What the chosen options may cost together, below 2^53.
    """

    name: str
    costs: Sequence[Sequence[int]]
    most: int

    @property
    def spare(self) -> int:
        """What may be spent above the cheapest option of every site; negative if the limit is out of reach."""
        return self.most - sum(min(options) for options in self.costs)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The option chosen for each site, and their total loss.

    A `gap` of 0.0 says that no choice within the limits loses less, down to 2^-40 of the loss for each site. Otherwise
    the problem was too large, and another choice may lose less, by `gap` at most.
    """

    options: tuple[int, ...]
    loss: float
    gap: float


def choose(losses: Sequence[Sequence[float]], limits: Sequence[Limit]) -> Choice:
    """One option for each site, the least total loss among all choices within the limits.

    Of equally good choices the cheapest wins, by the first limit's measure before the second's, and then the one with
    the earliest options: those of the largest site count first, by the share of a limit that it can take, and of equal
    sites those of the first.

    Parameters
    ----------
    losses
        For each site, for each of its options; one that loses infinity is never chosen.
    limits
        One or two, which hold together.

    Raises
    ------
    BudgetError
        If nothing keeps within the limits; the message names the one that is out of reach.
    """
    if len(limits) > _MEASURES:
        raise ValueError(f"{len(limits)} limits are more than the {_MEASURES} that can be kept at once")
    for limit in limits:
        if limit.spare < 0:
            raise BudgetError(
                f"the cheapest choice of schemes costs {limit.most - limit.spare} {limit.name}, "
                f"the budget is {limit.most}"
            )
    if not losses:
        return Choice(options=(), loss=0.0, gap=0.0)
    problem = _Problem.of(losses, limits)
    found = _search(problem) if problem.is_possible else None
    if found is None:
        raise BudgetError(f"no choice of schemes was found within the limits: {', '.join(x.name for x in limits)}")
    options = problem.as_given(found.options)
    loss = math.fsum(values[option] for values, option in zip(losses, options, strict=True))
    return Choice(options=options, loss=loss, gap=found.gap)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """The problem as arrays, the largest site first: small ones fill the gaps that large ones leave.

    Attributes
    ----------
    losses
        (sites, options), infinite for what can't be chosen.
    costs
        (sites, options, 2), above each site's cheapest.
    spare
        (2,), what may be spent above the cheapest.
    order
        (sites,), where each site was given.
    """

    losses: _Floats
    costs: _Ints
    spare: _Ints
    order: _Options

    @classmethod
    def of(cls, losses: Sequence[Sequence[float]], limits: Sequence[Limit]) -> _Problem:
        shape = (len(losses), max(map(len, losses)))
        loss, cost = np.full(shape, np.inf), np.zeros((*shape, _MEASURES), np.int64)
        spare = [limit.spare for limit in limits]
        for site, values in enumerate(losses):
            above = [_above_least(limit.costs[site]) for limit in limits]
            for option, (value, *extra) in enumerate(zip(values, *above, strict=True)):
                if all(more <= left for more, left in zip(extra, spare, strict=True)):
                    loss[site, option] = value
                    cost[site, option, : len(limits)] = extra
        left = np.array([*spare, *[0] * (_MEASURES - len(limits))], np.int64)
        size = (cost / np.maximum(left, 1)).max(axis=(1, 2))
        order = np.argsort(-size, kind="stable")
        return cls(losses=loss[order], costs=cost[order], spare=left, order=order)

    @property
    def is_possible(self) -> bool:
        """Whether every site has an option left."""
        return bool(np.isfinite(self.losses).any(axis=1).all())

    def in_units(self, known: _Options | None) -> tuple[_Floats, float]:
        """Losses above each site's least, in whole units, and the unit; infinite where one alone exceeds the known."""
        excess = self.losses - self.losses.min(axis=1, keepdims=True)
        most = float(excess[np.isfinite(excess)].sum() if known is None else _of(excess, known).sum())
        unit = 2.0 ** (math.frexp(most)[1] - _DIGITS)
        return np.rint(np.where(excess <= most, excess, np.inf) / unit), unit

    def as_given(self, options: _Options) -> tuple[int, ...]:
        """The options in the order in which the sites were given."""
        given = np.empty_like(options)
        given[self.order] = options
        return tuple(given.tolist())


def _above_least(costs: Sequence[int]) -> list[int]:
    least = min(costs)
    return [cost - least for cost in costs]


def _of(values: NDArray[_Number], options: _Options) -> NDArray[_Number]:
    """What each site has for its option."""
    return values[np.arange(len(options)), options]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A choice in the problem's order, and how much less another one may lose."""

    options: _Options
    gap: float


def _search(problem: _Problem) -> _Found | None:
    """Pass after pass, with the choice of one as the ceiling of the next, until one proves what it was given."""
    best: _Found | None = None
    for effort in _EFFORTS:
        known = best.options if best else None
        losses, unit = problem.in_units(known)
        ceiling = np.inf if known is None else float(_of(losses, known).sum())
        width = max(effort // losses.size, 1)
        options, left_out = _pass(losses, problem.costs, problem.spare, ceiling, width)
        total = np.inf
        if options is not None:
            options = _polished(options, losses, problem.costs, problem.spare)
            total = float(_of(losses, options).sum())
        if options is None or total > ceiling:
            options, total = known, ceiling
        if options is not None:
            best = _Found(options=options, gap=max(total - left_out, 0.0) * unit)
        if total == ceiling < left_out:
            break
    return best


def _pass(losses: _Floats, costs: _Ints, spare: _Ints, ceiling: float, width: int) -> tuple[_Options | None, float]:
    """The best choice that `width` labels a site lead to, if any, and the least that those left out may lose."""
    bounds = Bounds.of(losses, costs, spare)
    left_out = np.inf
    labels = _Labels.none_taken()
    trail: list[tuple[_Options, _Options]] = []
    for site, (site_losses, site_costs) in enumerate(zip(losses, costs, strict=True)):
        labels = labels.extended(site_losses, site_costs)
        labels = labels.where(np.all(labels.cost <= spare, axis=1))
        for bound in (bounds.quick, bounds.sharp):
            labels = labels.where(bound(site + 1, labels.loss, labels.cost) <= ceiling + _ROUNDING)
        labels = labels.where(~dominated(labels.cost, labels.loss))
        labels, lowest = _narrowed(labels, bounds.sharp(site + 1, labels.loss, labels.cost), width)
        left_out = min(left_out, lowest)
        trail.append((labels.parent, labels.option))
    return _walk_back(trail, labels.best) if len(labels) else None, float(np.ceil(left_out - _ROUNDING))


def _polished(options: _Options, losses: _Floats, costs: _Ints, spare: _Ints) -> _Options:
    """The choice with single options replaced by ones that lose less, the best first, as long as the limits allow."""
    options = options.copy()
    while True:
        left = spare - _of(costs, options).sum(axis=0)
        within = np.all(costs - _of(costs, options)[:, None] <= left, axis=2)
        gains = np.where(within, _of(losses, options)[:, None] - losses, 0.0)
        site, option = divmod(int(gains.argmax()), losses.shape[1])
        if gains[site, option] <= 0:
            return options
        options[site] = option


def _narrowed(labels: _Labels, bound: _Floats, width: int) -> tuple[_Labels, float]:
    """The `width` labels of the lowest bounds, in their order, and the lowest bound of the others."""
    if len(labels) <= width:
        return labels, np.inf
    by_bound = np.argsort(bound, kind="stable")
    return labels.where(np.sort(by_bound[:width])), float(bound[by_bound[width]])


@dataclasses.dataclass(frozen=True, slots=True)
class _Labels:
    """Choices for the sites taken so far, the one with the earliest options first.

    Attributes
    ----------
    loss, cost
        (labels,) and (labels, 2), in total.
    parent, option
        (labels,), the label that each was made from, and the option added.
    """

    loss: _Ints
    cost: _Ints
    parent: _Options
    option: _Options

    @classmethod
    def none_taken(cls) -> _Labels:
        nothing = np.zeros(1, np.intp)
        return cls(np.zeros(1, np.int64), np.zeros((1, _MEASURES), np.int64), nothing, nothing)

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def best(self) -> int:
        """The label that loses least, of equals the cheapest, of equals the first."""
        return int(np.lexsort((self.cost[:, 1], self.cost[:, 0], self.loss))[0])

    def extended(self, losses: _Floats, costs: _Ints) -> _Labels:
        """Every label with every option of the next site."""
        options = np.flatnonzero(np.isfinite(losses))
        parent = np.repeat(np.arange(len(self)), len(options))
        option = np.tile(options, len(self))
        loss = self.loss[parent] + losses[option].astype(np.int64)
        return _Labels(loss, self.cost[parent] + costs[option], parent, option)

    def where(self, index: NDArray[np.bool_] | _Options) -> _Labels:
        """Only some of them, in their order."""
        return _Labels(self.loss[index], self.cost[index], self.parent[index], self.option[index])


def _walk_back(trail: Sequence[tuple[_Options, _Options]], label: int) -> _Options:
    chosen: list[int] = []
    for parent, option in reversed(trail):
        chosen.append(int(option[label]))
        label = int(parent[label])
    return np.array(chosen[::-1], np.intp)

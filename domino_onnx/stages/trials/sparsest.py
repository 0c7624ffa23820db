"""The sparsest plan within a largest loss: plans are tried out, each once, and the weights of the best one are kept."""

from __future__ import annotations

import dataclasses
import functools

from domino_onnx.errors import BudgetError
from domino_onnx.percentage import percent
from domino_onnx.report.results import Trial
from domino_onnx.report.text import lost_in_words
from domino_onnx.scheme import Budget, Inventory, nothing_to_prune
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.kept.found import pack_found, restore_found
from domino_onnx.stages.kept.plans import plan_once
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.trials.trying import most_zeros, require_judges, trial_once, tried

__all__ = ["require_trials", "sparsest_within"]

_FINEST = 0.01
"""How close the search comes to the sparsest plan that would do, as a share of the weights."""
_BEST = "best"


def sparsest_within(lab: Laboratory, max_drop: float) -> Found:
    """The sparsest plan that loses no more than `max_drop` of the metric, with all that was tried to find it.

    The range in question is halved, down to a hundredth of the weights.

    Raises
    ------
    DataError
        As `require_trials`.
    BudgetError
        If no plan stays within, or there is none to try.
    """
    require_trials(lab)
    trials, best = _Trials(lab, max_drop), None
    low, high = 0.0, most_zeros(lab)
    while high - low > _FINEST:
        budget = Budget(measure="params", reduction=round((low + high) / 2, 4))
        trial = trials.of(budget)
        if trial.comparison.is_within(max_drop):
            low, best = max(trial.planned_sparsity, budget.reduction), trial
        else:
            high = budget.reduction
    if best is None:
        last = trials.tried[-1]
        raise BudgetError(
            f"no plan stays within --max-drop {max_drop:g}: with {percent(last.planned_sparsity)} zeros "
            f"{lost_in_words(last.comparison.metric, last.comparison.drop)}. Allow more, or give more --data"
        )
    return dataclasses.replace(trials.found(best), trials=tuple(trials.tried))


def require_trials(lab: Laboratory) -> None:
    """Raise what makes trials impossible, before any work.

    Raises
    ------
    DataError
        If there are no samples to measure a loss on.
    BudgetError
        If hardly any weight can become zero.
    """
    require_judges(lab)
    most = most_zeros(lab)
    if most <= _FINEST:
        raise BudgetError(_nothing_to_try(lab.aim.inventory, most))


class _Trials:
    """What was tried so far.

    Attributes
    ----------
    tried
        Of each plan one trial, in order.
    """

    def __init__(self, lab: Laboratory, max_drop: float) -> None:
        self.tried: list[Trial] = []
        self._lab = lab
        self._max_drop = max_drop
        self._by_plan: dict[object, Trial] = {}
        self._best: Found | None = None

    def of(self, budget: Budget) -> Trial:
        """The trial of this budget's plan. A smaller budget may come to the same plan: schemes are coarse."""
        plan = frozenset(plan_once(self._lab, (budget,)).plan.schemes.items())
        if plan not in self._by_plan:
            self._by_plan[plan] = trial_once(self._lab, budget, functools.partial(self._try, budget))
            self.tried.append(self._by_plan[plan])
            self._lab.journal.note(self.tried[-1].in_words(self._max_drop))
        return self._by_plan[plan]

    def found(self, trial: Trial) -> Found:
        """What a trial within the largest loss came to; tried out again if another one's weights were kept since."""
        best = self._best or self._lab.checkpoint.load(_BEST, functools.partial(restore_found, self._lab))
        if best is not None and best.planned.plan.schemes == trial.plan.schemes:
            return best
        return tried(self._lab, trial.budget)

    def _try(self, budget: Budget) -> Trial:
        found = tried(self._lab, budget)
        trial = found.trials[-1]
        if trial.comparison.is_within(self._max_drop):
            self._best = found
            self._lab.checkpoint.keep(_BEST, *pack_found(found))
        return trial


def _nothing_to_try(inventory: Inventory, most: float) -> str:
    """Why there is no trial where the largest share of zeros is within the finest step."""
    if not most:
        return nothing_to_prune(inventory)
    return (
        f"{percent(most)} of the weights can become zeros, which is less than the search tells apart: give --scheme. "
        "domino-onnx inspect says why the others can't"
    )

"""What a goal comes to: a plan within budgets or a largest loss, the trials of a sweep, and finetuning after them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domino_onnx.errors import BudgetError
from domino_onnx.report.results import SweepResult, Trial
from domino_onnx.report.text import lost_in_words
from domino_onnx.scheme import Budget
from domino_onnx.stages.choosing import Found, find
from domino_onnx.stages.finetuning.finetune import finetune_if_possible
from domino_onnx.stages.finetuning.gate import passed
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import require_plan
from domino_onnx.stages.solving import overlaid
from domino_onnx.stages.trials.measuring import measured_apart
from domino_onnx.stages.trials.sparsest import require_trials, sparsest_within
from domino_onnx.stages.trials.trying import dense_bytes, require_judges, trial_once, tried

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned
    from domino_onnx.outputs import Comparison

__all__ = [
    "advice",
    "finetune_within",
    "found_for_budgets",
    "found_within",
    "reachable_shares",
    "require_goal",
    "sweep_result",
]

_OVERFITTED = 10
"""How many times as far apart outputs are on new samples, where the weights were fitted to too few."""


def require_goal(lab: Laboratory) -> None:
    """Raise what makes the goal impossible, before any work.

    Raises
    ------
    PlanError, BudgetError, DataError
        As `require_plan`, or as `require_trials` for a largest loss.
    """
    goal = lab.options.goal
    if goal.max_drop is None:
        require_plan(lab, goal.budgets)
    else:
        require_trials(lab)


def found_within(lab: Laboratory) -> Found:
    """A plan within the goal, and what it came to: by its budgets, or the sparsest within the largest loss.

    Raises
    ------
    PlanError, BudgetError
        If the plan doesn't fit the model, or the goal is out of reach.
    DataError
        If a loss is to be measured without data.
    """
    goal = lab.options.goal
    return found_for_budgets(lab) if goal.max_drop is None else sparsest_within(lab, goal.max_drop)


def found_for_budgets(lab: Laboratory) -> Found:
    """A plan within the goal's budgets, and what it is worth before any finetuning, where samples were set apart.

    Raises
    ------
    PlanError, BudgetError
        If the plan doesn't fit the model, or the goal is out of reach.
    """
    found = find(lab, lab.options.goal.budgets)
    comparison = measured_apart(lab, overlaid(found.solved.weights, found.solved.biases))
    if comparison is not None and comparison.loses_much:
        lost = lost_in_words(comparison.metric, comparison.drop)
        lab.journal.warn(
            f"before any finetuning {lost}, on {comparison.samples:,} {lab.judges_in_words}. "
            + advice(comparison, found.solved.divergence)
        )
    return dataclasses.replace(found, comparison=comparison)


def advice(comparison: Comparison, fitted: float | None) -> str:
    """What to do about a loss: give more samples, or ask for fewer zeros.

    Parameters
    ----------
    fitted
        How far apart outputs are on the samples that the weights were fitted to; None where they were not.
    """
    unseen = comparison.relative_error if comparison.kl is None else comparison.kl
    if fitted is not None and unseen is not None and unseen > _OVERFITTED * fitted:
        return "On the samples that the weights were fitted to it is a tenth of that or less: more --data keeps more"
    return "`domino-onnx sweep` shows what fewer zeros would keep"


def finetune_within(lab: Laboratory, found: Found) -> Finetuned | None:
    """Finetune if the options ask for it; undone, with a warning, if that isn't better or breaks the largest loss."""
    if not lab.options.finetune.enabled:
        return None
    return passed(lab, found, finetune_if_possible(lab, found))


def sweep_result(lab: Laboratory, shares: Sequence[float]) -> SweepResult:
    """A trial for each of these shares of zeros, which are `reachable_shares`."""
    size, zipped = dense_bytes(lab)
    return SweepResult(
        model=lab.source.path,
        dense_bytes=size,
        dense_bytes_gzipped=zipped,
        trials=tuple(_trial(lab, _zeros(share)) for share in shares),
        options=lab.options,
        seconds=lab.journal.seconds,
        warnings=lab.journal.warnings,
        drawn=lab.source.drawn if lab.judged_by_drawn else (),
        forecast=lab.journal.forecast,
    )


def _zeros(share: float) -> Budget:
    return Budget(measure="params", reduction=share)


def _trial(lab: Laboratory, budget: Budget) -> Trial:
    trial = trial_once(lab, budget, lambda: tried(lab, budget).trials[-1])
    lab.journal.note(trial.in_words())
    return trial


def reachable_shares(lab: Laboratory, shares: Sequence[float]) -> list[float]:
    """The shares of zeros that the model can reach, ascending; a warning for each that it can't.

    Raises
    ------
    DataError
        If there are no samples that judge.
    BudgetError
        If none can be reached.
    """
    require_judges(lab)
    inventory, wanted = lab.aim.inventory, sorted(set(shares))
    reachable = [share for share in wanted if _zeros(share).is_reachable(inventory)]
    most = _zeros(0).achieved_at_least(inventory, inventory.sparsest)
    for share in wanted[len(reachable) :]:
        lab.journal.warn(f"--sparsity {share:g} can't be reached on this model: at most {most:g} is possible")
    if not reachable:
        raise BudgetError(f"none of these shares of zeros can be reached: at most {most:g} is possible")
    return reachable

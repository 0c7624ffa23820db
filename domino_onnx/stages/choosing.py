"""The stage that settles on a plan: where two come into question, both are refitted and the better one stays."""

from __future__ import annotations

import dataclasses
import logging

from domino_onnx.outputs import Comparison
from domino_onnx.report.results import Trial
from domino_onnx.scheme import Budget
from domino_onnx.stages.kept.plans import plan_once
from domino_onnx.stages.kept.weights import solve_once
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Solved

__all__ = ["Found", "find"]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A plan, the weights that it came to, and what was tried to find it.

    Attributes
    ----------
    comparison
        With the dense model, before finetuning, on samples that nothing learned from; None where none were set apart.
    """

    planned: Planned
    solved: Solved
    comparison: Comparison | None = None
    trials: tuple[Trial, ...] = ()


def find(lab: Laboratory, budgets: tuple[Budget, ...]) -> Found:
    """Choose a plan within the budgets, and solve it.

    Raises
    ------
    PlanError, BudgetError
        As `choose_plan`.
    """
    planned, solved = _settled(lab, budgets)
    return Found(planned=planned, solved=solved or solve_once(lab, planned.plan))


def _settled(lab: Laboratory, budgets: tuple[Budget, ...]) -> tuple[Planned, Solved | None]:
    """A plan. If choosing it took a refit, its weights come with it."""
    planned = plan_once(lab, budgets)
    if not planned.alternatives or lab.options.solver.method != "refit":
        return planned, None
    solved = solve_once(lab, planned.plan)
    for other in planned.alternatives:
        if solved.divergence is None:
            break
        found = solve_once(lab, other.plan)
        if found.divergence is None:
            break
        _log.info("outputs diverge by %.4g, with another plan by %.4g", solved.divergence, found.divergence)
        if found.divergence < solved.divergence:
            planned, solved = other, found
    return planned, solved

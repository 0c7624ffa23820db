"""The stage that settles on a plan: where two come into question, both are refitted, and the better one stays."""

from __future__ import annotations

import logging

from domino_onnx.scheme import Budget
from domino_onnx.stages.context import Run
from domino_onnx.stages.planning import Planned, choose_plan
from domino_onnx.stages.solving import Solved, solve

__all__ = ["choose"]

_log = logging.getLogger(__name__)


def choose(run: Run, budgets: tuple[Budget, ...] = ()) -> tuple[Planned, Solved | None]:
    """The plan that the options ask for, with what it came to where that had to be found out to choose it.

    Parameters
    ----------
    budgets
        Instead of those of the options.

    Raises
    ------
    PlanError, BudgetError
        As `choose_plan`.
    """
    planned = choose_plan(run, budgets)
    if not planned.alternatives or run.options.solver != "refit":
        return planned, None
    solved = solve(run, planned.plan)
    for other in planned.alternatives:
        if solved.divergence is None:
            break
        found = solve(run, other.plan)
        if found.divergence is None:
            break
        _log.info("outputs diverge by %.4g, with another plan by %.4g", solved.divergence, found.divergence)
        if found.divergence < solved.divergence:
            planned, solved = other, found
    return planned, solved

"""What a search chose, in a checkpoint."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.scheme import Budget, NamedArrays, Plan
from domino_onnx.search import Decision
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import Planned, choose_plan

__all__ = ["plan_once", "plans_in", "restore_plan"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """The document: a `Planned` with its plans as text."""

    plan: str
    decisions: tuple[Decision, ...]
    alternatives: tuple[str, ...]


def plan_once(lab: Laboratory, budgets: tuple[Budget, ...]) -> Planned:
    """As `choose_plan`; what was found by a search is kept.

    Raises
    ------
    PlanError, BudgetError
        As `choose_plan`.
    CheckpointError
        If what was kept can't be gone on from.
    """
    if lab.aim.plan is not None or not budgets:
        return choose_plan(lab, budgets)
    name = "-".join(["plan", *(f"{budget.measure}-{budget.reduction!r}" for budget in budgets)])
    return lab.checkpoint.once(
        name, lambda: choose_plan(lab, budgets), _pack, functools.partial(_restore, lab, budgets)
    )


def plans_in(document: Mapping[str, Any]) -> int:
    """How many plans come into question that a search has found, as their document says.

    Raises
    ------
    CheckpointError
        If it is no document of plans.
    """
    return 1 + len(convert(document, _Planned, what="its document", error=CheckpointError).alternatives)


def restore_plan(lab: Laboratory, text: str, budgets: tuple[Budget, ...]) -> Plan:
    """A plan that was kept as text.

    Raises
    ------
    CheckpointError, PlanError
        If it doesn't fit the model, isn't the one that was given, or misses the budgets.
    """
    plan = lab.aim.suited(Plan.from_json(text, "its plan"))
    plan.check_fits(lab.aim.inventory, lab.source.file.sha256)
    if lab.aim.plan is not None and plan.schemes != lab.aim.plan.schemes:
        raise CheckpointError("its plan isn't the one that was given")
    if lab.aim.plan is None and lab.options.goal.scheme is None:
        for budget in budgets:
            if not budget.is_met(lab.aim.inventory, plan.schemes):
                raise CheckpointError(f"its plan doesn't reduce {budget.measure} by {budget.reduction:g}")
    return plan


def _pack(planned: Planned) -> tuple[dict[str, Any], NamedArrays]:
    others = tuple(other.plan.to_json() for other in planned.alternatives)
    return plain(_Planned(plan=planned.plan.to_json(), decisions=planned.decisions, alternatives=others)), {}


def _restore(lab: Laboratory, budgets: tuple[Budget, ...], document: Mapping[str, Any], _: NamedArrays) -> Planned:
    kept = convert(document, _Planned, what="its document", error=CheckpointError)
    return Planned(
        plan=restore_plan(lab, kept.plan, budgets),
        decisions=kept.decisions,
        alternatives=tuple(Planned(plan=restore_plan(lab, text, budgets)) for text in kept.alternatives),
    )

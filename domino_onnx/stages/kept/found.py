"""What was found for a goal, and the trials on the way, in a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.outputs import Comparison
from domino_onnx.report.results import Trial
from domino_onnx.scheme import Budget, NamedArrays, Plan
from domino_onnx.search import Decision
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.kept.plans import restore_plan
from domino_onnx.stages.kept.weights import SolvedDocument, pack_solved, restore_solved
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import Planned

__all__ = ["pack_found", "pack_trial", "restore_found", "restore_trial"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The document: a `Found` without its arrays, its plans as text."""

    plan: str
    comparison: Comparison | None
    decisions: tuple[Decision, ...]
    solved: SolvedDocument
    trials: tuple[dict[str, Any], ...]


def pack_found(found: Found) -> tuple[dict[str, Any], NamedArrays]:
    """A document and arrays that `restore_found` makes the same of."""
    solved, arrays = pack_solved(found.solved)
    kept = _Found(
        plan=found.planned.plan.to_json(),
        comparison=found.comparison,
        decisions=found.planned.decisions,
        solved=solved,
        trials=tuple(map(_trial_document, found.trials)),
    )
    return plain(kept), arrays


def restore_found(lab: Laboratory, document: Mapping[str, Any], arrays: NamedArrays) -> Found:
    """What `pack_found` packed.

    Raises
    ------
    CheckpointError, PlanError, ModelError
        If it can't have been found for this model and this goal.
    """
    kept = convert(document, _Found, what="its document", error=CheckpointError)
    plan = restore_plan(lab, kept.plan, lab.options.goal.budgets)
    return Found(
        planned=Planned(plan=plan, decisions=kept.decisions),
        solved=restore_solved(lab, plan, kept.solved, arrays),
        comparison=kept.comparison,
        trials=tuple(map(_trial, kept.trials)),
    )


def pack_trial(trial: Trial) -> tuple[dict[str, Any], NamedArrays]:
    """A document that `restore_trial` makes the same of."""
    return _trial_document(trial), {}


def restore_trial(lab: Laboratory, budget: Budget, document: Mapping[str, Any], _: NamedArrays) -> Trial:
    """What `pack_trial` packed.

    Raises
    ------
    CheckpointError, PlanError
        If it is no trial of this budget.
    """
    trial = _trial(document)
    if trial.budget != budget:
        raise CheckpointError("it is of another budget")
    return dataclasses.replace(trial, plan=restore_plan(lab, trial.plan.to_json(), (budget,)))


def _trial_document(trial: Trial) -> dict[str, Any]:
    """A trial with its plan as text: the keys of a plan's schemes have no form in a document."""
    fields = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial) if field.name != "plan"}
    return {**plain(fields), "plan": trial.plan.to_json()}


def _trial(document: Mapping[str, Any]) -> Trial:
    text = document.get("plan")
    if not isinstance(text, str):
        raise CheckpointError("a trial in it has no plan")
    plan = Plan.from_json(text, "the plan of a trial in it")
    return convert({**document, "plan": plan}, Trial, what="a trial in it", error=CheckpointError)

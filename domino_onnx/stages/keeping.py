"""What a checkpoint keeps of what was found, and whether what it holds can have been found for this run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.outputs import Comparison
from domino_onnx.report.results import Trial
from domino_onnx.scheme import NamedArrays, NMScheme, Plan, WeightKey
from domino_onnx.search import Decision
from domino_onnx.solve import obeys
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Solved, Solver

__all__ = ["packed", "restored"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The document of a checkpoint: a `Found` without its arrays, and the journal."""

    plan: str
    comparison: Comparison | None
    decisions: tuple[Decision, ...]
    weights: tuple[WeightKey, ...]
    biases: tuple[WeightKey, ...]
    solver: Solver
    errors: tuple[tuple[WeightKey, float], ...]
    divergence: float | None
    trials: tuple[dict[str, Any], ...]
    seconds: dict[str, float]
    peaks: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def names(self) -> dict[str, WeightKey]:
        """The key of each array, by the array's name."""
        weights = {f"weight.{place}": key for place, key in enumerate(self.weights)}
        return weights | {f"bias.{place}": key for place, key in enumerate(self.biases)}


def packed(journal: Journal, found: Found) -> tuple[dict[str, Any], NamedArrays]:
    """A document and arrays that `restored` makes the same of."""
    planned, solved = found.planned, found.solved
    kept = _Kept(
        plan=planned.plan.to_json(),
        comparison=found.comparison,
        decisions=planned.decisions,
        weights=tuple(solved.weights),
        biases=tuple(solved.biases),
        solver=solved.solver,
        errors=tuple(solved.errors.items()),
        divergence=solved.divergence,
        trials=tuple(_trial_document(trial) for trial in found.trials),
        seconds=dict(journal.seconds),
        peaks=dict(journal.peaks),
        warnings=journal.warnings,
    )
    arrays = {f"weight.{place}": np.asarray(array) for place, array in enumerate(solved.weights.values())}
    arrays |= {f"bias.{place}": np.asarray(array) for place, array in enumerate(solved.biases.values())}
    return plain(kept), arrays


def restored(lab: Laboratory, document: Mapping[str, Any], arrays: NamedArrays) -> Found:
    """What `packed` packed. The journal tells of the stages that made it as if they had run now.

    Raises
    ------
    CheckpointError, PlanError, ModelError
        If it can't have been found for this model and this goal: a plan that doesn't fit or misses the budgets,
        arrays of other weights, shapes or dtypes, values that aren't finite, a mask that breaks its scheme.
    """
    kept = convert(document, _Kept, what="its document", error=CheckpointError)
    plan = _plan(lab, kept.plan)
    _check_arrays(lab, plan, kept, arrays)
    trials = tuple(map(_trial, kept.trials))
    lab.journal.resume(kept.seconds, kept.peaks, kept.warnings)
    planned = Planned(plan=plan, decisions=kept.decisions)
    solved = Solved(
        weights={key: arrays[f"weight.{place}"] for place, key in enumerate(kept.weights)},
        biases={key: arrays[f"bias.{place}"] for place, key in enumerate(kept.biases)},
        solver=kept.solver,
        errors=dict(kept.errors),
        divergence=kept.divergence,
    )
    return Found(planned=planned, solved=solved, comparison=kept.comparison, trials=trials)


def _plan(lab: Laboratory, text: str) -> Plan:
    """The plan, which is the one that was given, or meets the budgets that were."""
    plan = lab.aim.suited(Plan.from_json(text, "its plan"))
    plan.check_fits(lab.aim.inventory, lab.source.file.sha256)
    if lab.aim.plan is not None and plan.schemes != lab.aim.plan.schemes:
        raise CheckpointError("its plan isn't the one that was given")
    if lab.aim.plan is None and lab.options.goal.scheme is None:
        for budget in lab.options.goal.budgets:
            if not budget.is_met(lab.aim.inventory, plan.schemes):
                raise CheckpointError(f"its plan doesn't reduce {budget.measure} by {budget.reduction:g}")
    return plan


def _check_arrays(lab: Laboratory, plan: Plan, kept: _Kept, arrays: NamedArrays) -> None:
    """Raise CheckpointError for arrays that can't be pruned weights of this plan, with their biases."""
    names = kept.names
    _require_same("the arrays", names, arrays)
    pruned = [key for key, scheme in plan.schemes.items() if not scheme.is_dense]
    _require_same("the weights that its plan prunes", map(str, pruned), map(str, kept.weights))
    if len(set(names.values())) < len(names):
        raise CheckpointError("it names a weight twice")
    for name, key in names.items():
        _require_like(str(key), arrays[name], lab.source.load(key))
        if name.startswith("weight."):
            _require_scheme(lab, key, plan.schemes[key], arrays[name])
        elif lab.aim.inventory.site(key) is not None:
            raise CheckpointError(f"it changes {str(key)!r}, which is no bias")


def _require_same(what: str, wanted: Iterable[str], found: Iterable[str]) -> None:
    others = sorted({*wanted} ^ {*found})
    if others:
        raise CheckpointError(f"it doesn't hold {what} and no others: look at {', '.join(map(repr, others[:3]))}")


def _require_like(name: str, array: NDArray[Any], stored: NDArray[np.generic]) -> None:
    if (array.dtype, array.shape) != (stored.dtype, stored.shape):
        raise CheckpointError(
            f"its {name!r} is {array.dtype} {array.shape}, the model's is {stored.dtype} {stored.shape}"
        )
    if not np.isfinite(array).all():
        raise CheckpointError(f"its {name!r} holds values that aren't finite")


def _require_scheme(lab: Laboratory, key: WeightKey, scheme: NMScheme, array: NDArray[Any]) -> None:
    site = lab.aim.inventory.site(key)
    if site is None or not obeys(array, site.layout, scheme):
        raise CheckpointError(f"its {str(key)!r} doesn't keep at most {scheme.n} of every {scheme.m} weights")


def _trial_document(trial: Trial) -> dict[str, Any]:
    """A trial with its plan as text: the keys of a plan's schemes have no form in a document."""
    fields = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial) if field.name != "plan"}
    return {**plain(fields), "plan": trial.plan.to_json()}


def _trial(document: dict[str, Any]) -> Trial:
    text = document.get("plan")
    if not isinstance(text, str):
        raise CheckpointError("a trial in it has no plan")
    plan = Plan.from_json(text, "the plan of a trial in it")
    return convert({**document, "plan": plan}, Trial, what="a trial in it", error=CheckpointError)

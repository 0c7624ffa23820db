"""What makes a run one that can be interrupted: what is kept of it, and what tells it from others."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.options import recipe_document
from domino_onnx.outputs import Comparison
from domino_onnx.report.results import Trial
from domino_onnx.scheme import NamedArrays, Plan, WeightKey
from domino_onnx.search import Decision
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Solved
from domino_onnx.stages.trials import found_within

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["found_once", "open_checkpoint"]

_MAY_CHANGE = frozenset(
    {
        "data.calibration",
        "data.evaluation",
        "goal.plan",
        "output.format",
        "run.checkpoint",
        "run.checkpoint_every",
        "run.device",
        "run.resume",
        "run.threads",
    }
)
"""Options that another try at the same run may change. Of the files that they name the contents count."""
_HASHED_SAMPLES = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The document of a checkpoint: a `Found` without its arrays, and the journal."""

    plan: str
    comparison: Comparison | None
    decisions: tuple[Decision, ...]
    weights: tuple[WeightKey, ...]
    biases: tuple[WeightKey, ...]
    solver: str
    errors: tuple[tuple[WeightKey, float], ...]
    divergence: float | None
    trials: tuple[dict[str, Any], ...]
    seconds: dict[str, float]
    peaks: dict[str, int]
    warnings: tuple[str, ...]


def open_checkpoint(lab: Laboratory, *, teacher_sha256: str = "") -> Checkpoint | None:
    """The folder that the options name; None if they name none.

    Raises
    ------
    CheckpointError
        If it can't be made, or holds a checkpoint that isn't to be resumed.
    """
    run, source = lab.options.run, lab.source
    if run.checkpoint is None:
        return None
    decide = lab.options.goal.max_drop is not None or lab.options.finetune.enabled
    judges = source.split.apart if source.split is not None and decide else None
    same = {
        "model": source.file.sha256,
        "teacher": teacher_sha256,
        "data": "" if source.split is None else _data_sha256(source.split.fit),
        "evaluation data": "" if judges is None else _data_sha256(judges),
        "plan": "" if lab.aim.plan is None else lab.aim.plan.to_json(),
        **_identity(lab),
    }
    return Checkpoint(run.checkpoint, same, resume=run.resume)


def found_once(lab: Laboratory, checkpoint: Checkpoint | None) -> Found:
    """What the goal comes to: from the checkpoint if it is there, else found now, and kept there.

    Raises
    ------
    PlanError, BudgetError, DataError
        As `found_within`.
    CheckpointError
        If the checkpoint can't be read or written.
    """
    if checkpoint is None:
        return found_within(lab)
    kept = checkpoint.file("found")
    saved = kept.load()
    if saved is not None:
        return _restored(lab, *saved)
    found = found_within(lab)
    kept.save(*_packed(lab.journal, found))
    return found


def _identity(lab: Laboratory) -> dict[str, str]:
    groups = recipe_document(lab.options).items()
    fields = ((f"{group}.{field}", value) for group, values in groups for field, value in values.items())
    return {name: repr(value) for name, value in fields if name not in _MAY_CHANGE}


def _data_sha256(data: Dataset) -> str:
    """Of the shapes, and of some samples from all over the data."""
    digest = hashlib.sha256(str(data.count).encode())
    for place in np.unique(np.linspace(0, data.count - 1, _HASHED_SAMPLES).astype(np.int64)):
        for name, array in sorted(data.take(np.array([place])).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        if data.labels is not None:
            digest.update(str(data.labels[place]).encode())
    return digest.hexdigest()


def _packed(journal: Journal, found: Found) -> tuple[dict[str, Any], NamedArrays]:
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


def _restored(lab: Laboratory, document: Mapping[str, Any], arrays: NamedArrays) -> Found:
    """What `_packed` packed. The journal tells of the stages that made it as if they had run now."""
    kept = convert(document, _Kept, what="the checkpoint", error=CheckpointError)
    lab.journal.resume(kept.seconds, kept.peaks, kept.warnings)
    plan = lab.aim.suited(Plan.from_json(kept.plan))
    planned = Planned(plan=plan, decisions=kept.decisions)
    solved = Solved(
        weights={key: arrays[f"weight.{place}"] for place, key in enumerate(kept.weights)},
        biases={key: arrays[f"bias.{place}"] for place, key in enumerate(kept.biases)},
        solver=kept.solver,
        errors=dict(kept.errors),
        divergence=kept.divergence,
    )
    return Found(planned=planned, solved=solved, comparison=kept.comparison, trials=tuple(map(_trial, kept.trials)))


def _trial_document(trial: Trial) -> dict[str, Any]:
    """A trial with its plan as text: the keys of a plan's schemes have no form in a document."""
    fields = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial) if field.name != "plan"}
    return {**plain(fields), "plan": trial.plan.to_json()}


def _trial(document: dict[str, Any]) -> Trial:
    return convert(
        {**document, "plan": Plan.from_json(document["plan"])}, Trial, what="the checkpoint", error=CheckpointError
    )

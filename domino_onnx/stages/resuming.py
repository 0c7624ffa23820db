"""What makes a run one that can be interrupted: what tells it from others, and what is found only once."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.options import recipe_document
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.keeping import packed, restored
from domino_onnx.stages.laboratory import Laboratory
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
        "run.memory",
        "run.resume",
        "run.scratch",
        "run.threads",
    }
)
"""Options that another try at the same run may change. Of the files that they name the contents count."""
_HASHED_SAMPLES = 32


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
        If the checkpoint can't be read or written, or holds what can't be found for this goal.
    """
    if checkpoint is None:
        return found_within(lab)
    kept = checkpoint.file("found")
    found = kept.load(functools.partial(restored, lab))
    if found is None:
        found = found_within(lab)
        kept.save(*packed(lab.journal, found))
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

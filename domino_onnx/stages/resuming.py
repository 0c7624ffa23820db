"""What makes a run one that can be interrupted: where it keeps things, and what tells it from other runs."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx._version import __version__
from domino_onnx.options import CompressOptions, recipe_document
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.checkpoints.placed import Placed
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.kept.found import pack_found, restore_found
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.trials.goals import found_within

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.evaluate import Metric

__all__ = [
    "checkpoint_folder",
    "claim_checkpoint",
    "found_once",
    "name_of_sweep",
    "open_checkpoint",
    "replacing_of",
]

_MAY_CHANGE = frozenset(
    {
        "data.calibration",
        "data.evaluation",
        "data.metric",
        "goal.plan",
        "output.deploy",
        "output.format",
        "run.checkpoint",
        "run.checkpoint_after",
        "run.checkpoint_every",
        "run.device",
        "run.memory",
        "run.scratch",
        "run.threads",
    }
)
"""Options that another try at the same run may change. Of the files that they name the contents count."""
_HASHED_SAMPLES = 32
_SUPERSEDED = ("plan-*", "solved-*", "trial-*", "best")
"""What isn't needed once a plan was found. Losses are: the report tells them."""


def checkpoint_folder(options: CompressOptions, output: Path) -> Path:
    """Where a run keeps what it has found: in the folder that the options name, else next to the output."""
    if output.name in ("", ".."):  # `.` has a name only as a place
        output = output.resolve()
    return options.run.checkpoint or Path(f"{output}.partial")


def name_of_sweep(model: Path, report: Path | None, plans: Path | None) -> Path:
    """What a sweep keeps its results next to: what it writes, or else ``model.sweep`` for ``model.onnx``."""
    return report or plans or model.parent / f"{model.stem}.sweep"


def open_checkpoint(options: CompressOptions, output: Path | None, journal: Journal) -> Checkpoint:
    """What the run keeps. A folder that the options name is written to at once, another one after a while.

    Without an `output` nothing is kept but in a folder that the options name.
    """
    run = options.run
    return Checkpoint(
        run.checkpoint if output is None else checkpoint_folder(options, output),
        journal,
        resume=run.resume,
        after=run.checkpoint_after if run.checkpoint is None else 0.0,
        named=run.checkpoint is not None,
    )


def replacing_of(
    options: CompressOptions, output: Path | None, *, force: bool, checkpoint: Checkpoint | None = None
) -> Placed:
    """What a run may replace: with `--resume` also what it has put in place itself before it was interrupted.

    `output` and `checkpoint` are those of `open_checkpoint`. Whether the interrupted run was the same one isn't known
    before `claim_checkpoint`.
    """
    folder = options.run.checkpoint if output is None else checkpoint_folder(options, output)
    return Placed(force=force, left=folder if options.run.resume else None, checkpoint=checkpoint)


def claim_checkpoint(lab: Laboratory, command: str, *, teacher_sha256: str = "") -> None:
    """Say whose the checkpoint is from now on, before anything is kept or loaded.

    Raises
    ------
    CheckpointError
        If another run has left what is to be gone on from.
    """
    lab.checkpoint.is_of(_identity(lab, command, teacher_sha256=teacher_sha256))
    judge = _judge(lab, command)
    if judge is not None and judge.sha256 is None and lab.checkpoint.found:
        lab.journal.warn(
            f"the metric {judge.name} is a function, so that a change of it can't be seen: run without --resume if it "
            "was changed since"
        )


def found_once(lab: Laboratory) -> Found:
    """What the goal comes to: as it was kept, else found now, and kept.

    Raises
    ------
    PlanError, BudgetError, DataError
        As `found_within`.
    CheckpointError
        If what was kept can't be read, or can't have been found for this goal.
    """
    return lab.checkpoint.once(
        "found",
        functools.partial(found_within, lab),
        pack_found,
        functools.partial(restore_found, lab),
        *_SUPERSEDED,
    )


def _identity(lab: Laboratory, command: str, *, teacher_sha256: str = "") -> dict[str, str]:
    """What tells this run from others: what comes out is the same where all of it is."""
    source = lab.source
    judges = source.split.apart if source.split is not None and _is_judged(lab, command) else None
    judge = _judge(lab, command)
    return {
        "program": __version__,
        "command": command,
        "model": source.file.sha256,
        "teacher": teacher_sha256,
        "data": "" if source.split is None else _data_sha256(source.split.learned),
        "evaluation data": "" if judges is None else _data_sha256(judges),
        "metric": "" if judge is None else f"{judge.name} {judge.sha256 or ''}",
        "plan": "" if lab.aim.plan is None else lab.aim.plan.to_json(),
        **_options(lab),
    }


def _is_judged(lab: Laboratory, command: str) -> bool:
    """Whether what comes out hangs on what weights are worth."""
    return lab.options.goal.max_drop is not None or lab.options.finetune.enabled or command == "sweep"


def _judge(lab: Laboratory, command: str) -> Metric | None:
    """The user's own metric, where what comes out hangs on it."""
    return lab.source.metric if _is_judged(lab, command) else None


def _options(lab: Laboratory) -> dict[str, str]:
    groups = recipe_document(lab.options).items()
    fields = ((f"{group}.{field}", value) for group, values in groups for field, value in values.items())
    return {name: repr(value) for name, value in fields if name not in _MAY_CHANGE}


def _data_sha256(data: Dataset) -> str:
    """Of the shapes, and of some samples from all over the data."""
    digest = hashlib.sha256(str(data.count).encode())
    for place in np.unique(np.linspace(0, data.count - 1, _HASHED_SAMPLES).astype(np.int64)):
        for name, array in sorted(data.take(np.array([place])).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        if data.truth is not None:
            digest.update(str(data.truth[place]).encode())
    return digest.hexdigest()

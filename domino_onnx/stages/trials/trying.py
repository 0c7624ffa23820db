"""A plan tried out: refitted, written to a temporary file, and compared with the dense model on unseen data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from domino_onnx.errors import DataError
from domino_onnx.report.results import Trial
from domino_onnx.scheme import Budget
from domino_onnx.stages.choosing import Found, find
from domino_onnx.stages.kept.found import pack_trial, restore_trial
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.reading.doubts import doubts_of_judges
from domino_onnx.stages.solving import overlaid
from domino_onnx.stages.trials.measuring import measured, written_for_a_while
from domino_onnx.stages.writing.sizing import bytes_and_gzipped

__all__ = ["dense_bytes", "most_zeros", "require_judges", "trial_once", "tried"]


def require_judges(lab: Laboratory) -> None:
    """A warning where the samples that judge may not tell what a plan is worth."""
    split = lab.source.split
    if split is None or split.apart is None:
        raise DataError("what a plan is worth is measured on samples: give --data")
    if lab.judged_by_drawn:
        lab.journal.warn("drawn samples judge the plans, which is no accuracy: --eval-data FILE judges by real ones")
    for doubt in doubts_of_judges(split.apart, lab.options.goal.max_drop):
        lab.journal.warn(doubt)


def trial_once(lab: Laboratory, budget: Budget, make: Callable[[], Trial]) -> Trial:
    """What a budget's plan turned out to be worth: as it was kept, else as `make` finds out now.

    Raises
    ------
    CheckpointError
        If what was kept can't be gone on from.
    """
    restore = functools.partial(restore_trial, lab, budget)
    return lab.checkpoint.once(f"trial-{budget.reduction!r}", make, pack_trial, restore, "solved-*")


def tried(lab: Laboratory, budget: Budget) -> Found:
    """Choose a plan, refit it, and measure what it is worth. The trial is the last of `trials`."""
    found = find(lab, (budget,))
    values = overlaid(found.solved.weights, found.solved.biases)
    with lab.journal.stage("try"), written_for_a_while(lab, values) as path:
        comparison, (size, zipped) = measured(lab, path), bytes_and_gzipped(sorted(path.parent.iterdir()))
    inventory, schemes = lab.aim.inventory, found.planned.plan.schemes
    trial = Trial(
        budget=budget,
        planned_sparsity=inventory.sparsity(schemes),
        planned_flops_saved=inventory.flops_saved(schemes),
        divergence=found.solved.divergence,
        comparison=comparison,
        bytes=size,
        bytes_gzipped=zipped,
        plan=found.planned.plan,
    )
    return dataclasses.replace(found, comparison=comparison, trials=(trial,))


def dense_bytes(lab: Laboratory) -> tuple[int, int]:
    """Bytes of the model's files as they are, and gzipped."""
    return bytes_and_gzipped((lab.source.path, *lab.source.file.data_files))


def most_zeros(lab: Laboratory) -> float:
    """The largest share of zeros that schemes can give this model."""
    return lab.aim.inventory.sparsity(lab.aim.inventory.sparsest)

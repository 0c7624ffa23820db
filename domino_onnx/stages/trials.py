"""Plans tried out: refitted, written to a temporary file, and compared with the dense model on unseen data."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from domino_onnx.errors import BudgetError, DataError
from domino_onnx.graph import write_model
from domino_onnx.precision import converted
from domino_onnx.report.results import SweepResult, Trial
from domino_onnx.scheme import Budget, WeightArrays
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.choosing import Found, find
from domino_onnx.stages.comparing import compare, judge_of
from domino_onnx.stages.finetuning import finetune_if_possible
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.reading import conversion
from domino_onnx.stages.solving import overlaid

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.evaluate import Evaluation
    from domino_onnx.finetuning import Finetuned

__all__ = ["finetune_within", "found_within", "sweep_result"]

_FINEST = 0.01
"""How close the search comes to the sparsest plan that would do, as a share of the weights."""


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
    return find(lab, goal.budgets) if goal.max_drop is None else _sparsest_within(lab, goal.max_drop)


def finetune_within(lab: Laboratory, found: Found, checkpoint: Checkpoint | None) -> Finetuned | None:
    """Finetune if the options ask for it; None, with a warning, if that breaks the largest loss allowed."""
    if not lab.options.finetune.enabled:
        return None
    finetuned, max_drop = finetune_if_possible(lab, found, checkpoint), lab.options.goal.max_drop
    if finetuned is None or max_drop is None:
        return finetuned
    keys = (*found.solved.weights, *found.solved.biases)
    comparison = _measured(lab, {key: finetuned.values[key] for key in keys})[0].comparison
    if comparison.is_within(max_drop):
        return finetuned
    lost = f"{comparison.drop:.3g} of {comparison.metric}"
    lab.journal.warn(f"after finetuning {lost} is lost, so the weights of before are written")
    return None


def sweep_result(lab: Laboratory, shares: Sequence[float]) -> SweepResult:
    """A trial for each share of zeros that the model can reach, ascending; a warning for each that it can't.

    Raises
    ------
    DataError
        If there are no data.
    BudgetError
        If none can be reached.
    """
    _require_judges(lab)
    reachable = _reachable(lab, sorted(set(shares)))
    size, zipped = _dense_bytes(lab)
    budgets = [Budget(measure="params", reduction=share) for share in reachable]
    return SweepResult(
        model=lab.source.path,
        dense_bytes=size,
        dense_bytes_gzipped=zipped,
        trials=tuple(_try(lab, budget).trials[-1] for budget in budgets),
        options=lab.options,
        seconds=lab.journal.seconds,
        warnings=lab.journal.warnings,
    )


def _require_judges(lab: Laboratory) -> None:
    """A warning where the samples that judge may not tell what a plan is worth."""
    split = lab.source.split
    if split is None or split.apart is None:
        raise DataError("the accuracy of a plan is measured on data: give --data")
    for doubt in _doubts(split.apart, lab.options.goal.max_drop):
        lab.journal.warn(doubt)


def _try(lab: Laboratory, budget: Budget) -> Found:
    """Choose a plan, refit it, and measure what it is worth. The trial is the last of `trials`."""
    found = find(lab, (budget,))
    evaluation, size, zipped = _measured(lab, overlaid(found.solved.weights, found.solved.biases))
    inventory, schemes = lab.aim.inventory, found.planned.plan.schemes
    trial = Trial(
        budget=budget,
        planned_sparsity=inventory.sparsity(schemes),
        planned_flops_saved=inventory.flops_saved(schemes),
        prediction=found.planned.prediction,
        divergence=found.solved.divergence,
        comparison=evaluation.comparison,
        bytes=size,
        bytes_gzipped=zipped,
        plan=found.planned.plan,
    )
    return dataclasses.replace(found, trials=(trial,))


def _sparsest_within(lab: Laboratory, max_drop: float) -> Found:
    """The sparsest plan that loses no more than `max_drop` of the metric, with all that was tried to find it.

    The range in question is halved, down to a hundredth of the weights.
    """
    _require_judges(lab)
    low, high, best = 0.0, _most(lab), None
    tried: list[Trial] = []
    while high - low > _FINEST:
        found = _try(lab, Budget(measure="params", reduction=round((low + high) / 2, 4)))
        trial = found.trials[-1]
        tried.append(trial)
        if trial.comparison.is_within(max_drop):
            low, best = max(trial.planned_sparsity, trial.budget.reduction), found
        else:
            high = trial.budget.reduction
    if not tried:
        raise BudgetError("the model has no weight to prune; domino-onnx inspect lists its weights and says why")
    if best is None:
        said = "".join(f"; {each.planned_sparsity:.1%} zeros cost {each.comparison.drop:.3g}" for each in tried[-1:])
        raise BudgetError(f"no plan stays within --max-drop {max_drop:g}{said}. Allow more, or give more --data")
    return dataclasses.replace(best, trials=tuple(tried))


def _reachable(lab: Laboratory, wanted: Sequence[float]) -> list[float]:
    most = _most(lab)
    reachable = [share for share in wanted if share <= most]
    for share in wanted[len(reachable) :]:
        lab.journal.warn(f"--sparsity {share:g} can't be reached on this model: at most {most:.4g} is possible")
    if not reachable:
        raise BudgetError(f"none of these shares of zeros can be reached: at most {most:.4g} is possible")
    return reachable


def _dense_bytes(lab: Laboratory) -> tuple[int, int]:
    """Bytes of the model's files as they are, and gzipped."""
    with _written(lab, {}) as path:
        return _sizes(path)


def _most(lab: Laboratory) -> float:
    """The largest share of zeros that schemes can give this model."""
    return lab.aim.inventory.sparsity(lab.aim.inventory.sparsest)


def _measured(lab: Laboratory, values: WeightArrays) -> tuple[Evaluation, int, int]:
    """Against the dense model; the bytes of the file, as it is and gzipped."""
    with lab.journal.stage("try"), _written(lab, values) as path:
        judge = judge_of(lab, refitted=True, finetuned=False)
        return (compare(lab.dense, path, judge, lab.options.run), *_sizes(path))


def _doubts(judges: Dataset, max_drop: float | None) -> Iterator[str]:
    """Why these samples may not tell what a plan is worth."""
    if judges.labels is not None and judges.count > 1 and np.all(judges.labels == judges.labels[0]):
        yield (
            f"all {judges.count} samples that judge have the label {judges.labels[0]}. What other classes lose stays "
            "unseen: give samples of all classes, shuffled"
        )
    if max_drop is not None and judges.count * max_drop < 1:
        yield (
            f"{judges.count} samples judge, of which each counts {1 / judges.count:.1%}: too few to see a drop of "
            f"{max_drop:.2%}; give more, with --eval-data or --data"
        )


@contextlib.contextmanager
def _written(lab: Laboratory, values: WeightArrays) -> Iterator[Path]:
    """The model with these values, in a folder of its own, for a while."""
    made = converted(lab.source.file, values, None, conversion(lab.options))
    copy = ModelProto()
    copy.CopyFrom(made.file.proto)
    with tempfile.TemporaryDirectory(prefix="domino-onnx-") as folder:
        path = Path(folder) / lab.source.path.name
        write_model(dataclasses.replace(made.file, proto=copy), made.values, None, path)
        yield path


def _sizes(path: Path) -> tuple[int, int]:
    """Of a model's files, which are alone in their folder: bytes, and bytes gzipped."""
    files = sorted(path.parent.iterdir())
    return sum(file.stat().st_size for file in files), sum(map(_gzipped, files))


def _gzipped(path: Path) -> int:
    """Bytes of the file as `gzip` would leave it."""
    counter = _Counter()
    with path.open("rb") as source, gzip.GzipFile(fileobj=counter, mode="wb", mtime=0) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return counter.count


class _Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

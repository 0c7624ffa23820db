"""Plans tried out: refitted, written to a temporary file, and compared with the dense model on unseen data."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import BudgetError, DataError
from domino_onnx.report.results import SweepResult, Trial
from domino_onnx.report.text import lost_in_words
from domino_onnx.scheme import Budget
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.choosing import Found, find
from domino_onnx.stages.doubts import doubts_of_judges
from domino_onnx.stages.finetuning import finetune_if_possible
from domino_onnx.stages.gate import passed
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.measuring import measured, measured_apart, written_for_a_while
from domino_onnx.stages.planning import choose_plan
from domino_onnx.stages.solving import overlaid

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned

__all__ = ["finetune_within", "found_for_budgets", "found_within", "sweep_result"]

_BAD = 0.1
"""From this loss on a user is warned."""
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
    return found_for_budgets(lab) if goal.max_drop is None else _sparsest_within(lab, goal.max_drop)


def found_for_budgets(lab: Laboratory) -> Found:
    """A plan within the goal's budgets, and what it is worth before any finetuning, where samples were set apart.

    Raises
    ------
    PlanError, BudgetError
        If the plan doesn't fit the model, or the goal is out of reach.
    """
    found = find(lab, lab.options.goal.budgets)
    comparison = measured_apart(lab, overlaid(found.solved.weights, found.solved.biases))
    if comparison is not None and comparison.drop > _BAD:
        lost = lost_in_words(comparison.metric, comparison.drop)
        lab.journal.warn(
            f"before any finetuning {lost} is lost, on {comparison.samples} {lab.judges_in_words}. "
            "`domino-onnx sweep` shows what fewer zeros would keep"
        )
    return dataclasses.replace(found, comparison=comparison)


def finetune_within(lab: Laboratory, found: Found, checkpoint: Checkpoint | None) -> Finetuned | None:
    """Finetune if the options ask for it; undone, with a warning, if that isn't better or breaks the largest loss."""
    if not lab.options.finetune.enabled:
        return None
    return passed(lab, found, finetune_if_possible(lab, found, checkpoint))


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
        trials=tuple(_point(lab, budget) for budget in budgets),
        options=lab.options,
        seconds=lab.journal.seconds,
        warnings=lab.journal.warnings,
        drawn=lab.source.drawn if lab.judged_by_drawn else (),
        forecast=lab.journal.forecast,
    )


def _point(lab: Laboratory, budget: Budget) -> Trial:
    trial = _try(lab, budget).trials[-1]
    lab.journal.note(trial.in_words())
    return trial


def _require_judges(lab: Laboratory) -> None:
    """A warning where the samples that judge may not tell what a plan is worth."""
    split = lab.source.split
    if split is None or split.apart is None:
        raise DataError("what a plan is worth is measured on samples: give --data")
    if lab.judged_by_drawn:
        lab.journal.warn("drawn samples judge the plans, which is no accuracy: --eval-data FILE judges by real ones")
    for doubt in doubts_of_judges(split.apart, lab.options.goal.max_drop):
        lab.journal.warn(doubt)


def _try(lab: Laboratory, budget: Budget) -> Found:
    """Choose a plan, refit it, and measure what it is worth. The trial is the last of `trials`."""
    found = find(lab, (budget,))
    values = overlaid(found.solved.weights, found.solved.biases)
    with lab.journal.stage("try"), written_for_a_while(lab, values) as path:
        comparison, (size, zipped) = measured(lab, path), _sizes(path)
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


def _sparsest_within(lab: Laboratory, max_drop: float) -> Found:
    """The sparsest plan that loses no more than `max_drop` of the metric, with all that was tried to find it.

    The range in question is halved, down to a hundredth of the weights.
    """
    _require_judges(lab)
    low, high, best = 0.0, _most(lab), None
    tried: list[Trial] = []
    known: dict[object, Found] = {}
    while high - low > _FINEST:
        budget = Budget(measure="params", reduction=round((low + high) / 2, 4))
        plan = frozenset(choose_plan(lab, (budget,)).plan.schemes.items())
        if plan not in known:  # a smaller budget may come to the same plan: schemes are coarse
            known[plan] = _try(lab, budget)
            tried.append(known[plan].trials[-1])
            lab.journal.note(tried[-1].in_words(max_drop))
        found = known[plan]
        trial = found.trials[-1]
        if trial.comparison.is_within(max_drop):
            low, best = max(trial.planned_sparsity, budget.reduction), found
        else:
            high = budget.reduction
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
    with written_for_a_while(lab, {}) as path:
        return _sizes(path)


def _most(lab: Laboratory) -> float:
    """The largest share of zeros that schemes can give this model."""
    return lab.aim.inventory.sparsity(lab.aim.inventory.sparsest)


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

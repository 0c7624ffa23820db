"""Plans tried out: refitted, written to a temporary file, and compared with the dense model on data set apart."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.errors import BudgetError, DataError
from domino_onnx.graph import write_model
from domino_onnx.report.results import Trial
from domino_onnx.scheme import Budget, WeightKey
from domino_onnx.stages.choosing import choose
from domino_onnx.stages.context import Run
from domino_onnx.stages.lowering import lowered
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Overlaid, Solved, solve

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.evaluate import Evaluation
    from domino_onnx.finetuning import Recovery
    from domino_onnx.outputs import Comparison

__all__ = ["Found", "Trials"]

_SET_APART = 0.25
"""Share of the data that judges where no others are given."""
_FINEST = 0.01
"""How close to the sparsest plan that would do the search for it comes, as a share of the weights."""

Values = Mapping[WeightKey, NDArray[np.generic]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A plan that was tried, with its weights."""

    trial: Trial
    planned: Planned
    solved: Solved


class Trials:
    """Tries out budgets for a model that was read.

    Without data of their own to judge by, the trials take a quarter of the calibration data away from all other stages.

    Raises
    ------
    DataError
        If there are no data.
    """

    def __init__(self, run: Run) -> None:
        if run.data is None:
            raise DataError("the accuracy of a plan is measured on data: give --data")
        if run.eval_data is None:
            run.data, run.eval_data = _apart(run.data, run.options.seed)
        self._run = run
        self._judges = run.eval_data
        for doubt in _doubts(run.eval_data, run.options.max_drop):
            run.warn(doubt)

    @property
    def most(self) -> float:
        """The largest share of zeros that schemes can give this model."""
        inventory = self._run.inventory
        return inventory.sparsity(inventory.sparsest)

    def at(self, budget: Budget) -> Found:
        """Choose a plan, refit it, and see what it is worth."""
        run = self._run
        planned, solved = choose(run, (budget,))
        solved = solved or solve(run, planned.plan)
        evaluation, size, zipped = self._judged(Overlaid(solved.weights, solved.biases))
        inventory, schemes = run.inventory, planned.plan.schemes
        trial = Trial(
            budget=budget,
            planned_sparsity=inventory.sparsity(schemes),
            planned_flops_saved=inventory.flops_saved(schemes),
            prediction=planned.prediction,
            divergence=solved.divergence,
            comparison=evaluation.comparison,
            bytes=size,
            bytes_gzipped=zipped,
            plan=planned.plan,
        )
        return Found(trial=trial, planned=planned, solved=solved)

    def sparsest_within(self, max_drop: float) -> tuple[Found, tuple[Trial, ...]]:
        """The sparsest plan that loses no more than `max_drop` of the metric, and all that was tried to find it.

        What is in question is halved, down to a hundredth of the weights.

        Raises
        ------
        BudgetError
            If every plan that was tried loses more.
        """
        low, high, best = 0.0, self.most, None
        tried: list[Trial] = []
        while high - low > _FINEST:
            found = self.at(Budget(measure="params", reduction=round((low + high) / 2, 4)))
            trial = found.trial
            tried.append(trial)
            if trial.comparison.is_within(max_drop):
                low, best = max(trial.planned_sparsity, trial.budget.reduction), found
            else:
                high = trial.budget.reduction
        if best is None:
            said = "".join(
                f"; {each.planned_sparsity:.1%} zeros cost {each.comparison.drop:.3g}" for each in tried[-1:]
            )
            raise BudgetError(f"no plan stays within --max-drop {max_drop:g}{said}. Allow more, or give more --data")
        return best, tuple(tried)

    def dense_bytes(self) -> tuple[int, int]:
        """Of the model's files as they are, and gzipped."""
        with _written(self._run, {}) as path:
            return _sizes(path)

    def judge(self, solved: Solved, recovery: Recovery) -> Comparison:
        """What finetuned weights are worth."""
        return self._judged({key: recovery.values[key] for key in (*solved.weights, *solved.biases)})[0].comparison

    def _judged(self, values: Values) -> tuple[Evaluation, int, int]:
        """Against the dense model; the bytes of the file, as it is and gzipped."""
        from domino_onnx.data import input_specs
        from domino_onnx.evaluate import evaluate_models

        run = self._run
        specs = input_specs(run.file.proto)
        with run.stage("try"), _written(run, values) as path:
            evaluation = evaluate_models(
                run.model,
                path,
                self._judges,
                specs=specs,
                device=run.options.device,
                threads=run.options.threads,
                batch_size=run.options.batch_size,
            )
            return (evaluation, *_sizes(path))


def _apart(data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Data to learn from, and data to judge by."""
    order = np.random.default_rng(seed).permutation(data.count)
    count = round(data.count * _SET_APART)
    if data.batch:
        count = count // data.batch * data.batch
    if not 0 < count < data.count - max(data.batch or 1, 1):
        raise DataError(f"{data.count} samples are too few to set some apart to judge by: give more, or --eval-data")
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count]))


def _doubts(judges: Dataset, max_drop: float | None) -> Iterator[str]:
    """Why these samples may not tell what a plan is worth."""
    if judges.labels is not None and judges.count > 1 and np.all(judges.labels == judges.labels[0]):
        yield (
            f"all {judges.count} samples that judge have the label {judges.labels[0]}, so that nobody sees what other "
            "classes lose: give samples of all classes, shuffled"
        )
    if max_drop is not None and judges.count * max_drop < 1:
        yield (
            f"{judges.count} samples judge, of which each counts {1 / judges.count:.1%}: too few to see a drop of "
            f"{max_drop:.2%}; give more, with --eval-data or --data"
        )


@contextlib.contextmanager
def _written(run: Run, values: Values) -> Iterator[Path]:
    """The model with these values, in a folder of its own, for a while."""
    made = lowered(run, values, None)
    copy = ModelProto()
    copy.CopyFrom(made.file.proto)
    with tempfile.TemporaryDirectory(prefix="domino-onnx-") as folder:
        path = Path(folder) / run.model.name
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

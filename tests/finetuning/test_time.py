"""Time decides how many steps there are before the first one, and the same steps come to the same bytes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.errors import CheckpointError  # noqa: E402
from domino_onnx.finetuning import Finetuned, finetune  # noqa: E402
from domino_onnx.options import Duration, FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.scheme import WeightKey  # noqa: E402
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint  # noqa: E402

KEY = WeightKey("w")
OPTIONS = FinetuneOptions(time=Duration(1), lr=0.01)


class Slow:
    """A student whose steps take a millisecond: the squared distance of a weight from `taught`, judged by ones."""

    device = torch.device("cpu")

    def __init__(self, taught: float) -> None:
        self.taught = taught
        self.weight = torch.nn.Parameter(torch.zeros(4, 4))
        self.seconds = 0.001

    def trainable(self, keys: Any) -> Any:
        return dict.fromkeys(keys, self.weight)

    def backward(self, batch: Any, *_: Any) -> float:
        time.sleep(self.seconds)
        loss = (self.weight.diagonal() - self.taught - 0.1 * float(batch[0])).square().sum()
        loss.backward()
        return float(loss.detach())

    def held_out_loss(self, *_: Any) -> float:
        return float((self.weight.diagonal() - 1).square().sum().detach())

    def shuffled(self, _batch_size: int, seed: int) -> Iterator[Any]:
        generator = np.random.default_rng(seed)
        while True:
            yield generator.normal(size=1)

    def epoch(self, _batch_size: int) -> int:
        return 1


def train(options: FinetuneOptions, file: Any = None, stop_after: int | None = None, taught: float = 1.0) -> Finetuned:
    questions = itertools.count(1)
    given = {KEY: 0.5 * np.eye(4, dtype=np.float32)}
    run = RunOptions()
    return finetune(Slow(taught), given, options, run, checkpoint=file, stopped=lambda: next(questions) == stop_after)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Any]:
    """The file of a finetuning that was stopped after its 12th question."""
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(tmp_path / "kept") as checkpoint:
        train(OPTIONS, checkpoint.file("finetuning", 0), stop_after=12)
    with Checkpoint(tmp_path / "kept", resume=True) as checkpoint:
        yield checkpoint.file("finetuning", 0)


def test_as_many_steps_give_the_same_bytes_though_the_first_run_was_interrupted(stopped: Any) -> None:
    resumed = train(OPTIONS, stopped)
    assert resumed.decided_by == "time"
    exact = train(resumed.repeated(OPTIONS))
    assert (exact.decided_by, exact.planned) == ("options", resumed.planned)
    assert exact.history == resumed.history
    assert exact.values[KEY].tobytes() == resumed.values[KEY].tobytes()


def test_the_rate_reaches_its_end_with_the_last_planned_step(stopped: Any) -> None:
    finetuned = train(OPTIONS, stopped)
    assert finetuned.history[-1].step == finetuned.planned
    assert finetuned.history[-1].lr < 1e-3 * max(step.lr for step in finetuned.history)


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_a_machine_that_changes_its_pace_takes_the_planned_steps_to_the_end_of_the_rate(factor: float) -> None:
    student = Slow(1.0)

    def change(_: Any, planned: int) -> None:
        student.seconds = 0.001 * (factor if planned else 1.0)

    options = FinetuneOptions(time=Duration(1), lr=0.01, early_stop=False)
    finetuned = finetune(student, {KEY: 0.5 * np.eye(4, dtype=np.float32)}, options, RunOptions(), progress=change)
    assert finetuned.decided_by == "time"
    assert finetuned.history[-1].step == finetuned.planned
    assert finetuned.history[-1].lr < 1e-3 * max(step.lr for step in finetuned.history)


def test_a_plan_that_time_cannot_have_made_is_refused(stopped: Any) -> None:
    def longer(document: dict[str, Any], arrays: Any) -> Any:
        document["state"]["plan"]["steps"] = 10**9
        return document, arrays

    edited = stopped.load(longer)
    stopped.save(*edited)
    with pytest.raises(CheckpointError, match="no steps are planned so"):
        train(OPTIONS, stopped)


def test_a_loss_that_rises_ends_a_planned_training_early_and_no_exact_one() -> None:
    exact = train(FinetuneOptions(steps=200, lr=0.02), taught=2.0)
    assert (exact.stopped_early, exact.steps) == (False, 200)
    planned = train(FinetuneOptions(steps=200, lr=0.02, early_stop=True), taught=2.0)
    assert planned.stopped_early
    assert 0 < planned.best_step < planned.steps < planned.planned == 200
    assert planned.history == exact.history[: planned.steps]
    assert planned.values[KEY].tobytes() == exact.values[KEY].tobytes()

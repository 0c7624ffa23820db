"""On which samples the gate judges: the same ones before and after, and all where a largest loss is the goal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.options import CompressOptions, DataOptions, Goal
from domino_onnx.scheme import WeightKey
from domino_onnx.stages import Journal, open_laboratory, preflight, read
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.finetuning import gate
from domino_onnx.stages.solving import Solved
from domino_onnx.stages.trials.measuring import measured, written_for_a_while

KEY = WeightKey(name="w")
Array = np.ndarray[Any, np.dtype[np.float32]]


def shares_lost(x: Array, dense: Array, other: Array) -> float:
    """Of agreement, by numpy."""
    return 1 - float(np.mean(np.argmax(x @ dense, axis=1) == np.argmax(x @ other, axis=1)))


def ended(trained: Array) -> Any:
    """A finetuning that came to these weights."""
    from domino_onnx.finetuning import Finetuned

    return Finetuned(
        values={KEY: trained},
        before=1.0,
        after=0.5,
        lr=1e-3,
        steps=9,
        planned=9,
        decided_by="steps",
        best_step=9,
        history=(),
    )


@pytest.fixture
def weight() -> Array:
    return np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32)


@pytest.fixture
def model(save: Callable[..., Path], weight: Array) -> Path:
    """One product, whose answers are classes."""
    tiny = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        tiny (float[n, 16] x) => (float[n, 6] y) { a = MatMul (x, w)  y = Softmax <axis = 1> (a) }""")
    tiny.graph.initializer.append(numpy_helper.from_array(weight, KEY.name))
    return save(tiny)


@pytest.fixture
def judges() -> Array:
    """1,024 of which the even ones have the first eight features alone, the odd ones the others."""
    x = np.random.default_rng(2).standard_normal((1024, 16)).astype(np.float32)
    x[0::2, 8:], x[1::2, :8] = 0, 0
    return x


@pytest.fixture
def data(tmp_path: Path, judges: Array) -> DataOptions:
    np.savez(tmp_path / "fit.npz", x=np.random.default_rng(3).standard_normal((64, 16)).astype(np.float32))
    np.savez(tmp_path / "judges.npz", x=judges)
    return DataOptions(calibration=tmp_path / "fit.npz", evaluation=tmp_path / "judges.npz", drawn=0)


def test_a_largest_loss_holds_on_all_judges(model: Path, weight: Array, judges: Array, data: DataOptions) -> None:
    """Finetuned weights that are right on every other sample, and wrong on those between."""
    pytest.importorskip("torch")
    given, trained = weight.copy(), weight.copy()
    given[:, 3] += 1.2
    trained[8:] *= -1
    before, after = shares_lost(judges, weight, given), shares_lost(judges, weight, trained)
    assert 0 == shares_lost(judges[::2], weight, trained) < before < 0.3 < after
    options = CompressOptions(goal=Goal(max_drop=0.3), data=data)
    lab = open_laboratory(read(model, options, Journal(), "prune", judged=True), options, Journal())
    with written_for_a_while(lab, {KEY: given}) as path:
        comparison = measured(lab, path)
    assert comparison.samples == 1024
    assert comparison.drop == pytest.approx(before)
    found = Found(planned=None, solved=Solved(weights={KEY: given}), comparison=comparison)  # type: ignore[arg-type]
    passed = gate.passed(lab, found, ended(trained))
    assert passed is not None
    assert (passed.best_step, passed.was_undone) == (0, True)
    np.testing.assert_array_equal(passed.values[KEY], given)
    (warning,) = lab.journal.warnings
    assert f"agreement was {1 - before:.4g} and became {1 - after:.4g}, on 1024 samples" in warning


@pytest.mark.parametrize(("goal", "kept"), [(Goal(max_drop=0.3), False), (Goal(sparsity=0.5), True)])
def test_what_can_not_be_measured_is_not_within_a_largest_loss(
    goal: Goal, kept: bool, model: Path, weight: Array, data: DataOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    options = CompressOptions(goal=goal, data=data)
    lab = open_laboratory(read(model, options, Journal(), "prune", judged=True), options, Journal())
    with written_for_a_while(lab, {KEY: weight}) as path:
        comparison = measured(lab, path)

    def fail(*_: object) -> None:
        raise ModelError("too slow")

    monkeypatch.setattr(sys.modules[measured.__module__], "measured", fail)
    found = Found(planned=None, solved=Solved(weights={KEY: weight}), comparison=comparison)  # type: ignore[arg-type]
    passed = gate.passed(lab, found, ended(-weight))
    assert passed is not None
    np.testing.assert_array_equal(passed.values[KEY], -weight if kept else weight)
    assert bool(passed.best_step) == kept
    assert any("the weights from before are kept" in warning for warning in lab.journal.warnings) != kept


@pytest.mark.parametrize(
    ("goal", "measures"), [(Goal(max_drop=0.3), (1, 1024)), (Goal(sparsity=0.5), (2, 512))], ids=["loss", "zeros"]
)
def test_looks_are_expected_as_they_are_taken(
    goal: Goal, measures: tuple[int, int], model: Path, data: DataOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    works: list[Any] = []

    def noted(work: Any, *_: Any) -> Any:
        works.append(work)
        return work

    monkeypatch.setattr(sys.modules[preflight.__module__], "left_to_do", noted)
    options = CompressOptions(goal=goal, data=data)
    preflight(open_laboratory(read(model, options, Journal(), "prune"), options, Journal()), "compress")
    assert [work.measures for work in works] == [measures]

"""The teacher gives what ONNX Runtime gives, computes nothing twice that fits, and keeps no more than that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

pytest.importorskip("torch")

from domino_onnx.data import load_data
from domino_onnx.finetuning import teacher as module
from domino_onnx.finetuning.teacher import Teacher
from domino_onnx.graph import read_model
from domino_onnx.runtime import Session

node = helper.make_node


@pytest.mark.parametrize("batch", ["batch", 1])
def test_states_of_three_layers_are_told_by_sample(
    batch: Any, make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path], tmp_path: Path
) -> None:
    """Three layers are as many as the samples that a teacher tries first."""
    nodes = [node("Add", ["h", "x"], ["hn"]), node("ReduceMean", ["hn"], ["y"], axes=[0], keepdims=0)]
    shapes = {"x": [batch, 4], "h": [3, batch, 4]}
    path = save(make_model(nodes, shapes, {"y": [batch, 4], "hn": [3, batch, 4]}, {}))
    rng = np.random.default_rng(0)
    x, h = (rng.standard_normal(shape).astype(np.float32) for shape in ((70, 4), (3, 70, 4)))
    np.savez(tmp_path / "data.npz", x=x, h=h)
    data = load_data(tmp_path / "data.npz", onnx.load(path))
    some = np.array([50]) if batch == 1 else np.array([69, 3, 33])
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run(["y", "hn"], {"x": x[some], "h": h[:, some]})
    found = Teacher(path, data, device="cpu", threads=1).outputs(some, data.take(some))
    np.testing.assert_allclose(found["y"], wanted[0], rtol=1e-6)
    np.testing.assert_array_equal(found["hn"], wanted[1])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples each run had."""
    sizes: list[int] = []
    run = Session.run

    def counted(self: Session, inputs: Any, **rest: Any) -> Any:
        sizes.append(len(inputs["image"]))
        return run(self, inputs, **rest)

    monkeypatch.setattr(Session, "run", counted)
    return sizes


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_what_is_asked_again_is_kept_where_there_is_room(
    room: int, small_digits: Path, few: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", room)
    path = small_digits
    data = load_data(few, read_model(path).proto)
    teacher, session = Teacher(path, data, device="cpu", threads=1), ort.InferenceSession(path)
    assert not runs, "nothing is run before it is asked for"
    chosen = np.array([5, 3, 90])
    inputs = data.take(chosen)
    (expected,) = session.run(None, inputs)
    for _ in range(2):
        (judged,) = teacher.judged(chosen, inputs, 0).values()
        np.testing.assert_allclose(judged, expected, rtol=1e-5, atol=1e-5)
    assert runs == ([3] if room else [3, 3])
    runs.clear()
    teacher.outputs(chosen, inputs, once=True)
    assert runs == [3]
    for _ in range(2):
        (plain,) = teacher.outputs(chosen, inputs).values()
        np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-5)
    assert runs == ([3, 3, 32, 32, 32] if room else [3, 3, 3, 3])


def test_other_variations_that_judge_have_answers_of_their_own(small_digits: Path, few: Path) -> None:
    path = small_digits
    data = load_data(few, read_model(path).proto)
    teacher = Teacher(path, data, device="cpu", threads=1)
    chosen = np.arange(4)
    first, second = data.take(chosen), {name: array[::-1].copy() for name, array in data.take(chosen).items()}
    (one,) = teacher.judged(chosen, first, 0).values()
    (other,) = teacher.judged(chosen, second, 1).values()
    np.testing.assert_allclose(one, other[::-1], rtol=1e-5, atol=1e-5)

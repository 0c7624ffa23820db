"""The dense model's answers about a recurrent model's states, kept or not."""

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
from domino_onnx.finetuning.teacher import Teacher

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

"""Models that differ in their external data alone are different models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.errors import PlanError
from domino_onnx.stages import teacher_beside

Run = Callable[..., Any]


@pytest.fixture
def retrained(make_model: Callable[..., ModelProto], tmp_path: Path) -> Path:
    """The data file of the same model with other weights."""
    return save(make_model, tmp_path / "retrained", 1).with_name("w.data")


@pytest.fixture
def model(make_model: Callable[..., ModelProto], tmp_path: Path) -> Path:
    return save(make_model, tmp_path / "in", 0)


def save(make_model: Callable[..., ModelProto], folder: Path, seed: int) -> Path:
    weight = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    folder.mkdir()
    made = make_model([node], {"x": ("batch", 16)}, {"y": None}, {"w": weight})
    path = folder / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="w.data", size_threshold=0)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.random.default_rng(2).standard_normal((64, 16)).astype(np.float32))
    return path


def put(new: Path, model: Path) -> None:
    """The new data file in the place of the old one; the .onnx stays as it is."""
    assert new.with_name("model.onnx").read_bytes() == model.read_bytes()
    new.replace(model.with_name(new.name))


def test_a_run_does_not_go_on_with_them(
    domino: Run, model: Path, retrained: Path, data: Path, tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    output = tmp_path / "out.onnx"
    words = ["compress", model, "--sparsity", "0.5", "--data", data, "--no-finetune", "-o", output]
    words += ["--checkpoint", tmp_path / "kept"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words).code == 130
    put(retrained, model)
    ran = domino(*words, "--resume", "--json")
    assert (ran.code, output.exists()) == (1, False)
    error = json.loads(ran.out)["error"]
    assert (error["type"], "of another run: model was" in error["message"]) == ("CheckpointError", True)


def test_they_are_no_teacher_by_its_hash(domino: Run, model: Path, retrained: Path, data: Path, tmp_path: Path) -> None:
    pruned = model.with_name("pruned.onnx")
    assert domino("compress", model, "--sparsity", "0.5", "--no-finetune", "-o", pruned).code == 0
    assert teacher_beside(pruned) == model
    put(retrained, model)
    with pytest.raises(PlanError, match=r"is not among the 1 other \.onnx file in its folder"):
        teacher_beside(pruned)
    pytest.importorskip("torch")
    words = ["finetune", pruned, "--teacher", model, "--data", data, "--finetune-steps", "2"]
    ran = domino(*words, "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    assert "was made from another model than the teacher" in " ".join(ran.err.split())


def test_a_plan_is_not_for_them(domino: Run, model: Path, retrained: Path, tmp_path: Path) -> None:
    plan, output = tmp_path / "plan.json", tmp_path / "out.onnx"
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 0
    assert domino("apply", model, plan, "-o", output).code == 0
    put(retrained, model)
    ran = domino("apply", model, plan, "-o", output, "--force")
    assert (ran.code, "the plan was made for a model with SHA-256" in " ".join(ran.err.split())) == (1, True)

"""A weight that is a fixed function stays dense, unless a user or a plan names it; then all commands agree on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Run = Callable[..., Any]


@pytest.fixture
def model(make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> Path:
    """A trained weight, and the bins 0 to 15 that a distribution is averaged over."""
    weight = np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)
    arrays = {"w": weight, "bins": np.arange(16, dtype=np.float32).reshape(16, 1)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["p"]),
        helper.make_node("MatMul", ["p", "bins"], ["y"]),
    ]
    return save(make_model(nodes, {"x": ["n", 32]}, {"y": None}, arrays))


def test_named_once_it_is_pruned_all_the_way(domino: Run, model: Path, tmp_path: Path) -> None:
    plan, pruned, again = (tmp_path / name for name in ("plan.json", "pruned.onnx", "again.onnx"))
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32))
    assert domino("search", model, "--scheme", "2:4", "--include", "*", "-o", plan).code == 0
    assert "bins" in {site["weight"] for site in json.loads(plan.read_text())["sites"]}
    ran = domino("apply", model, plan, "-o", pruned)
    assert ran.code == 0, ran.err
    bins = {each.name: numpy_helper.to_array(each) for each in onnx.load(pruned).graph.initializer}["bins"]
    assert np.count_nonzero(bins) <= 8
    assert domino("verify", pruned).code == 0
    pytest.importorskip("torch")
    words = ["--teacher", model, "--data", tmp_path / "data.npz", "--finetune-steps", "2", "-o", again]
    ran = domino("finetune", pruned, *words)
    assert ran.code == 0, ran.err
    assert domino("verify", again).code == 0


def test_without_a_name_it_stays(domino: Run, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    ran = domino("compress", model, "--scheme", "2:4", "-o", output, "--json")
    assert ran.code == 0, ran.err
    (skip,) = json.loads(ran.out)["skipped"]
    assert skip["weight"] == "bins"
    assert "fixed function" in skip["reason"]
    bins = {each.name: numpy_helper.to_array(each) for each in onnx.load(output).graph.initializer}["bins"]
    assert (bins.reshape(-1) == np.arange(16)).all()

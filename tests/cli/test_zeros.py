"""Budgets and reports count the same zeros: those of the file that is written, skipped weights included."""

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
node = helper.make_node


def counted(path: Path) -> tuple[dict[str, int], int]:
    """Zeros of each initializer, and how many numbers all hold."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    return {name: int((array == 0).sum()) for name, array in arrays.items()}, sum(a.size for a in arrays.values())


@pytest.fixture
def half_empty(make_model: Callable[..., Any], save: Callable[..., Path]) -> Path:
    """A site of 512 weights, and 640 zeros in a weight that no scheme fits."""
    nodes = [node("MatMul", ["x", "site"], ["y"]), node("MatMul", ["u", "skipped"], ["v"])]
    arrays = {
        "site": np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32),
        "skipped": np.zeros((10, 64), np.float32),
    }
    return save(make_model(nodes, {"x": (1, 16), "u": (1, 10)}, {"y": None, "v": None}, arrays))


@pytest.mark.parametrize("strategy", ["uniform", "erk", "domino"])
def test_zeros_of_a_skipped_weight_count_towards_the_budget(
    strategy: str, half_empty: Path, domino: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out.onnx"
    words = ("--sparsity", "0.7", "--flops-reduction", "0.7", "--no-finetune", "-o", output, "--json")
    ran = domino("compress", half_empty, *words, recipe={"search.strategy": strategy})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    zeros, params = counted(output)
    assert zeros == {"site": 256, "skipped": 640}  # 7/10 of 1152 are 807, of which the site gives half of its own
    assert document["sparsity"] == document["planned_sparsity"] == sum(zeros.values()) / params
    assert document["flops_saved"] == document["planned_flops_saved"] == sum(zeros.values()) / params
    assert domino("verify", output).code == 0


def test_planned_and_counted_zeros_are_told_apart(
    make_model: Callable[..., Any], save: Callable[..., Path], domino: Run, tmp_path: Path
) -> None:
    """Scattered zeros are more than 2:4 plans; by magnitude all of them stay."""
    weight = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)
    weight[np.random.default_rng(1).random((16, 32)) < 0.7] = 0
    source = save(make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (3, 16)}, {"y": None}, {"w": weight}))
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    ran = domino("compress", source, "--scheme", "2:4", "--no-finetune", "-o", output, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    zeros, params = counted(output)
    assert zeros["w"] > int((weight == 0).sum()) > 0.6 * params
    assert document["sparsity"] == document["flops_saved"] == zeros["w"] / params
    assert document["planned_sparsity"] == document["planned_flops_saved"] == 0.5
    shown = domino("compress", source, "--scheme", "2:4", "--no-finetune", "-o", output, "--force").out
    assert f"{zeros['w'] / params:.2%}".replace("%", " %") in shown

    ran = domino("search", source, "--sparsity", "0.6", "-o", plan, "--json")
    document = json.loads(ran.out)
    assert document["planned_sparsity"] == int((weight == 0).sum()) / params
    assert [(site["n"], site["m"]) for site in document["sites"]] == [(16, 16)]
    inspected = json.loads(domino("inspect", source, "--json").out)
    assert inspected["sparsity"] == document["planned_sparsity"]

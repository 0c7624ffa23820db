"""Shapes that only a run can tell, and the MACs that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from domino_onnx.graph import infer_shapes, read_model
from domino_onnx.options import CompressOptions, overridden
from domino_onnx.pipeline import compress, inspect
from domino_onnx.runtime import observe_shapes


def _computed_reshape(make_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """The batch goes through NonZero, behind which inference knows no size; then a Gemm of 16 x 8."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("NonZero", ["s"], ["i"]),
        helper.make_node("Squeeze", ["i", "zero"], ["j"]),
        helper.make_node("Gather", ["s", "j"], ["t"]),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("Gemm", ["r", "w"], ["y"]),
    ]
    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    return make_model(nodes, {"x": ["b", 16]}, {"y": None}, {"w": weight, "zero": np.array([0])})


def test_a_run_shows_what_inference_can_not_know(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    file = read_model(save(_computed_reshape(make_model)))
    table = infer_shapes(file.proto, {"x": (1, 16)})
    assert None in table.get(((), "y"), (None,))
    inputs: dict[str, Any] = {"x": np.ones((1, 16), np.float32)}
    assert observe_shapes(file, table, inputs)[(), "y"] == (1, 8)
    assert [output.name for output in file.proto.graph.output] == ["y"]


def test_a_flops_budget_works_where_only_data_give_the_macs(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path], tmp_path: Path
) -> None:
    path = save(_computed_reshape(make_model))
    np.savez(tmp_path / "data.npz", x=np.ones((3, 16), np.float32))
    half = {"goal.flops_reduction": 0.5, "search.strategy": "uniform", "finetune.enabled": False}
    by_data = overridden(CompressOptions(), {**half, "data.calibration": tmp_path / "data.npz"})
    by_shape = overridden(CompressOptions(), {**half, "data.input_shapes": {"x": (1, 16)}})
    for each in (by_data, by_shape):
        result = compress(path, tmp_path / "out.onnx", each, force=True)
        assert result.inventory.macs == 16 * 8
        assert result.planned_flops_saved == 0.5
    shaped = overridden(CompressOptions(), {"data.input_shapes": {"x": (1, 16)}})
    assert inspect(path, shaped).inventory.macs == 16 * 8

"""What `inspect` tells of a file as a whole, against counts of onnx's own and numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from domino_onnx.options import CompressOptions, DataOptions
from domino_onnx.pipeline import inspect


@pytest.fixture
def model(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> Path:
    """A Conv, a Gemm behind a Reshape of its weight, a table of a Gather, and a constant that nothing reads."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Reshape", ["flat", "shape"], ["weight"]),
        helper.make_node("Gemm", ["c", "weight"], ["y"]),
        helper.make_node("Gather", ["table", "index"], ["z"]),
    ]
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "kernel": generator.standard_normal((32, 16, 3, 3)).astype(np.float32),
        "flat": generator.standard_normal(32 * 8).astype(np.float32),
        "shape": np.array([32, 8], np.int64),
        "table": generator.standard_normal((50, 16)).astype(np.float32),
        "left": np.zeros(10, np.float32),
    }
    made = make_model(nodes, {"image": ["batch", 16, 9, 9], "index": [3]}, {"y": ["batch", 8], "z": [3, 16]}, arrays)
    made.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    return save(made, check=False)


def test_shares_are_bytes_of_the_file(model: Path) -> None:
    result = inspect(model)
    size = model.stat().st_size
    found = {share.op: (share.nbytes, share.share) for share in result.shares}
    expected = {"Conv": 32 * 16 * 9 * 4, "Gemm": 32 * 8 * 4, "Gather": 50 * 16 * 4, "nothing": 40}
    for op, nbytes in expected.items():
        assert found[op][0] in (nbytes, nbytes + 16)  # the sizes that Reshape takes are the Gemm's
        assert found[op][1] == pytest.approx(found[op][0] / size)
    assert [share.nbytes for share in result.shares] == sorted((share.nbytes for share in result.shares), reverse=True)
    conv = next(share for share in result.shares if share.op == "Conv")
    assert conv.prunable == conv.share


def test_inputs_and_outputs_are_as_declared(model: Path, domino: Callable[..., Any]) -> None:
    result = inspect(model)
    assert list(map(str, result.inputs)) == ["image (float32: batch x 16 x 9 x 9)", "index (int64: 3)"]
    assert list(map(str, result.outputs)) == ["y (float32: batch x 8)", "z (float32: 3 x 16)"]
    document = json.loads(domino("inspect", model, "--json").out)
    assert document["inputs"][0] == {"name": "image", "dtype": "float32", "shape": ["batch", 16, 9, 9]}


def test_the_cost_of_a_run_needs_shapes(model: Path, domino: Callable[..., Any]) -> None:
    forecast = inspect(model).forecast
    assert forecast is not None
    assert forecast.memory > model.stat().st_size
    assert {stage.name for stage in forecast.stages} >= {"search", "refit", "write"}
    larger = CompressOptions(data=DataOptions(input_shapes={"image": (64, 16, 9, 9)}))
    other = inspect(model, larger).forecast
    assert other is not None
    assert other.seconds > forecast.seconds
    opened = onnx.load(model)
    for axis in (2, 3):
        opened.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"s{axis}"
    opened.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(opened, model)
    assert inspect(model).forecast is None
    assert "give --input-shape or --data" in domino("inspect", model).out


def test_the_cost_of_functions_is_unknown_whatever_shapes_are_given(
    model: Path, domino: Callable[..., Any], tmp_path: Path
) -> None:
    inner = onnx.load(model)
    [opset] = inner.opset_import
    called = onnx.load(model)
    weight = next(tensor for tensor in inner.graph.initializer if len(tensor.dims) > 1)
    body = [
        onnx.helper.make_node("Constant", [], ["w"], value=weight),
        onnx.helper.make_node("Conv", ["i", "w"], ["o"]),
    ]
    called.functions.append(onnx.helper.make_function("local", "F", ["i"], ["o"], body, [opset]))
    called.opset_import.add(domain="local", version=1)
    del called.graph.node[:], called.graph.initializer[:], called.graph.output[:]
    name = called.graph.input[0].name
    called.graph.node.append(onnx.helper.make_node("F", [name], ["y"], domain="local"))
    called.graph.output.append(onnx.helper.make_tensor_value_info("y", 1, None))
    onnx.save(called, tmp_path / "called.onnx")
    said = " ".join(domino("inspect", tmp_path / "called.onnx").out.split())
    assert "what a run costs is unknown: no shapes are inferred inside local functions: inline them" in said
    assert "--input-shape" not in said

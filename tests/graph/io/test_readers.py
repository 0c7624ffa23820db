"""Readers of a weight that are easily missed: beyond functions, behind caller attributes, in shared bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import compress, inspect

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
HALF = overridden(CompressOptions(), {"data.calibration": NO_DATA, "goal.sparsity": 0.5, "search.strategy": "uniform"})


def _weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: list[str],
    functions: list[onnx.FunctionProto],
    initializers: dict[str, np.ndarray],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=8), path)
    return path


def test_a_functions_constant_that_leaves_it_is_no_site(tmp_path: Path) -> None:
    body = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(_weight(16, 8))),
        helper.make_node("MatMul", ["a", "k"], ["o"]),
    ]
    function = helper.make_function("local", "F", ["a"], ["o", "k"], body, OPSETS[:1])
    path = _save(
        tmp_path / "m.onnx", [helper.make_node("F", ["x"], ["y", "z"], domain="local")], ["y", "z"], [function], {}
    )
    found = inspect(path).inventory
    assert not found.sites
    assert "output" in found.skips[0].reason


def test_a_weight_that_comes_back_out_of_a_function_is_no_site(tmp_path: Path) -> None:
    function = helper.make_function(
        "local", "Same", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], OPSETS[:1]
    )
    nodes = [
        helper.make_node("Same", ["w"], ["v"], domain="local"),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Gather", ["v", "i"], ["z"]),
    ]
    arrays = {"w": _weight(16, 8), "i": np.array([1])}
    assert not inspect(_save(tmp_path / "m.onnx", nodes, ["y", "z"], [function], arrays)).inventory.sites


def test_an_attribute_from_the_caller_is_not_guessed(tmp_path: Path) -> None:
    gemm = helper.make_node("Gemm", ["a", "k"], ["o"])
    gemm.attribute.add(name="transB", ref_attr_name="tb", type=onnx.AttributeProto.INT)
    function = helper.make_function("local", "G", ["a", "k"], ["o"], [gemm], OPSETS[:1], attributes=["tb"])
    call = helper.make_node("G", ["x", "w"], ["y"], domain="local", tb=1)
    found = inspect(_save(tmp_path / "m.onnx", [call], ["y"], [function], {"w": _weight(16, 16)})).inventory
    assert not found.sites
    assert "caller" in found.skips[0].reason


def _external(folder: Path, location: str, ranges: dict[str, int]) -> Path:
    """MatMul weights of 16 x 16, each at its offset of one data file."""
    folder.mkdir(exist_ok=True)
    size = max(ranges.values()) + 1024
    (folder / location).write_bytes(_weight(size // 4).tobytes())
    nodes, last = [], "x"
    for name in ranges:
        nodes.append(helper.make_node("MatMul", [last, name], [f"{name}_out"]))
        last = f"{name}_out"
    path = _save(folder / "m.onnx", nodes, [last], [], {})
    model = onnx.load(path)
    for name, offset in ranges.items():
        tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[16, 16])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": str(offset), "length": "1024"}.items():
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_overlaps_are_seen_beyond_the_next_neighbour(tmp_path: Path) -> None:
    path = _external(tmp_path / "a", "w.data", {"a": 0, "b": 256, "c": 1020, "d": 4096})
    assert [site.key.name for site in inspect(path).inventory.sites] == ["d"]


def test_a_step_by_step_chain_keeps_each_steps_data(tmp_path: Path) -> None:
    source = _external(tmp_path / "a", "w.data", {"a": 0, "b": 1024})
    output = source.with_name("out.onnx")
    compress(source, output, HALF)
    first = source.with_name("step1.onnx")
    output.rename(first)
    compress(first, output, HALF)
    for path in (source, first, output):
        onnx.load(path)


@pytest.mark.parametrize("force", [False, True])
def test_an_output_over_the_inputs_data_is_refused(force: bool, tmp_path: Path) -> None:
    source = _external(tmp_path / "a", "w.data", {"a": 0, "b": 1024})
    before = source.with_name("w.data").read_bytes()
    with pytest.raises(OutputError):
        compress(source, source.with_name("w.data"), HALF, force=force)
    assert source.with_name("w.data").read_bytes() == before

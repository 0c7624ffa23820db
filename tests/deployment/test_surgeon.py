"""What onnx-graphsurgeon overlooks, leaves out or prints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from .test_rewrite import deployed, ops, same, sparse

Make = Callable[..., ModelProto]
node = helper.make_node


def test_new_names_are_none_of_a_subgraph(make_model: Make) -> None:
    product = node("MatMul", ["domino_onnx.0", "w"], ["a"])
    branches = [
        helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)])
        for nodes in ([node("Neg", ["x"], ["domino_onnx.0"]), product], [node("MatMul", ["x", "w"], ["a"])])
    ]
    model = make_model(
        [
            node("MatMul", ["x", "w"], ["y"]),
            node("If", ["c"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        ],
        {"x": ("N", 64)},
        {"y": ("N", 32), "z": ("N", 32)},
        {"w": sparse((64, 32), 0), "c": np.array(True)},
    )
    changed, _, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul", "If"]
    same(model, changed, {"x": np.ones((2, 64), np.float32)})


def test_types_without_a_numpy_type_cost_no_line_of_output(make_model: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """A report in JSON goes to stdout, where onnx-graphsurgeon would print its warnings."""
    other = TensorProto(name="e", data_type=TensorProto.FLOAT8E5M2FNUZ, dims=[2], raw_data=b"\1\2")
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"]), node("Cast", ["e"], ["z"], to=TensorProto.FLOAT)],
        {"x": ("N", 64)},
        {"y": ("N", 32), "z": (2,)},
        {"w": sparse((64, 32), 0), "e": other},
        opset=19,
        ir=9,
    )
    changed, _, _ = deployed(model, {})
    assert capfd.readouterr().out == ""
    assert next(tensor for tensor in changed.graph.initializer if tensor.name == "e") == other
    onnx.checker.check_model(model)

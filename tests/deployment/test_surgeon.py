"""What onnx-graphsurgeon overlooks, leaves out or prints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import domino_onnx

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


def test_the_model_that_was_read_stays_as_it_is(make_model: Make) -> None:
    """It may be what is written, and a file that imports the domain counts as deployed."""
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 64)}, {"y": ("N", 32)}, {"w": sparse((64, 32), 0)}
    )
    before = model.SerializeToString()
    deployed(model, {})
    assert model.SerializeToString() == before


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


def _with_threshold(make_model: Make, op: str, ir: int) -> ModelProto:
    """A sum or difference of a product and a stored number that is an input as well; so are weights."""
    product = node("Gemm", ["x", "w", "b"], ["m"])
    model = make_model(
        [product, node(op, ["m", "t"], ["y"])],
        {"t": (1,), "x": ("N", 64), "w": (64, 32), "b": (32,)},
        {"y": ("N", 32)},
        {"w": sparse((64, 32), 0), "b": np.zeros(32, np.float32), "t": np.array([0.5], np.float32)},
        ir=ir,
        opset=8,
    )
    if ir > 3:
        del model.graph.input[2:]
    return model


@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_what_a_caller_may_replace_stays_replaceable(make_model: Make, op: str) -> None:
    model = _with_threshold(make_model, op, 8)
    changed, layers, _ = deployed(model, {"m": (2, 32)})
    assert ops(changed) == ["NmMatMul", op]
    assert layers[0].residual is None
    assert list(changed.graph.input) == list(model.graph.input)
    x = np.ones((2, 64), np.float32)
    same(model, changed, {"x": x})
    same(model, changed, {"x": x, "t": np.array([10], np.float32)})


def test_a_default_that_nothing_reads_keeps_its_input_optional(make_model: Make) -> None:
    model = _with_threshold(make_model, "Add", 8)
    model.graph.node[1].input[1] = "m"
    changed, _, _ = deployed(model, {})
    assert ops(changed)[0] == "NmMatMul"
    same(model, changed, {"x": np.ones((2, 64), np.float32)})


def test_inputs_of_the_first_ir_versions_are_no_options(make_model: Make) -> None:
    """All stored tensors are listed there, and none can be replaced."""
    model = _with_threshold(make_model, "Add", 3)
    changed, _, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul"]
    assert [value.name for value in changed.graph.input] == ["x"]
    assert changed.ir_version == 4
    same(model, changed, {"x": np.ones((2, 64), np.float32)})


def test_what_a_user_changed_in_a_graph_is_written(make_model: Make) -> None:
    """Values under their old names, and attributes. What wasn't changed keeps what onnx-graphsurgeon drops."""
    model = make_model(
        [node("Gemm", ["x", "w", "b"], ["h"], alpha=1.0), node("Selu", ["h"], ["y"], doc_string="as it was")],
        {"x": ("N", 64)},
        {"y": ("N", 32)},
        {"w": sparse((64, 32), 0), "b": np.zeros(32, np.float32)},
    )
    graph = domino_onnx.convert(model).graph()
    assert graph.tensors()["b"].values.sum() == 0
    graph.tensors()["w"].values = np.ones((64, 32), np.float32)
    graph.nodes[0].attrs["alpha"] = 0.5
    edited = domino_onnx.convert(graph).model
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in edited.graph.initializer}
    assert (stored["w"] == 1).all()
    assert not stored["b"].any()
    assert edited.graph.node[0].attribute[0].f == 0.5
    assert edited.graph.node[1] == model.graph.node[1]

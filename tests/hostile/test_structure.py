"""Models that are impossible in one way each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.graph import read_model

Refuse = Callable[[onnx.ModelProto, str], str]
node = helper.make_node
pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture
def refuse(tmp_path: Path, refused: Callable[..., str]) -> Refuse:
    """The message with which a model is refused that is saved under `tmp_path`."""

    def message_of(model: onnx.ModelProto, says: str) -> str:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return refused(path, says)

    return message_of


def test_undefined_inputs(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.node[0].input[0] = "nowhere"
    refuse(good, "'n' reads 'nowhere'")


def test_outputs_that_nothing_produces(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.output[0].name = "nothing"
    refuse(good, "'nothing'")


def test_no_outputs(good: onnx.ModelProto, refuse: Refuse) -> None:
    del good.graph.output[:]
    refuse(good, "no outputs")


def test_cycles(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.node.append(node("Add", ["q", "x"], ["p"]))
    good.graph.node.append(node("Add", ["p", "x"], ["q"]))
    refuse(good, "cycle")


def test_a_node_that_reads_itself(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.node.append(node("Add", ["q", "x"], ["q"], name="ouroboros"))
    refuse(good, "ouroboros")


def test_cycles_through_a_subgraph(good: onnx.ModelProto, refuse: Refuse) -> None:
    branch = helper.make_graph([node("Neg", ["z"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)])
    good.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    good.graph.node.append(node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    refuse(good, "cycle")


def test_a_subgraph_may_use_the_name_of_a_later_tensor(good: onnx.ModelProto, run_ort: Any, tmp_path: Path) -> None:
    """`h` of a branch is its own, so that the outer `h`, made of the branch's result, makes no cycle."""
    nodes = [node("Neg", ["x"], ["h"]), node("Abs", ["h"], ["o"])]
    branch = helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("o", 1, (1, 16))])
    good.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    good.graph.node.append(node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    good.graph.node.append(node("Identity", ["z"], ["h"]))
    good.graph.output.append(helper.make_tensor_value_info("h", 1, (1, 16)))
    onnx.checker.check_model(good)
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    x = np.full((1, 16), -2, np.float32)
    np.testing.assert_array_equal(run_ort(path, {"x": x})[-1], 2 * np.ones_like(x))
    assert read_model(path).proto == good


def test_two_nodes_of_one_output(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.node.append(node("Neg", ["x"], ["y"]))
    refuse(good, "'y' is defined twice")


def test_two_initializers_of_one_name(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer.append(good.graph.initializer[0])
    refuse(good, "'w'")


def test_two_inputs_of_one_name(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.input.append(good.graph.input[0])
    refuse(good, "'x'")


def test_negative_dims(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer[0].dims[:] = [-16, -8]
    refuse(good, "impossible shape")


@pytest.mark.parametrize("dims", [[2**31, 2**31], [2**62], [2**40, 0], [1] * 1000, [65536] * 8])
def test_shapes_without_data_for_them(dims: list[int], good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer[0].dims[:] = dims
    refuse(good, "'w'")


def test_data_of_another_shape(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer[0].dims[:] = [16, 9]
    refuse(good, "'w'")


def test_data_in_two_fields(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer[0].float_data.extend([1.0] * 128)
    refuse(good, "'w'")


@pytest.mark.parametrize("kind", [0, 99, -1])
def test_unknown_data_types(kind: int, good: onnx.ModelProto, refuse: Refuse) -> None:
    good.graph.initializer[0].data_type = kind
    refuse(good, "data type")


@pytest.mark.parametrize("version", [-1, 0, 99, 10**12])
def test_unknown_versions(version: int, good: onnx.ModelProto, refuse: Refuse) -> None:
    good.ir_version = version
    refuse(good, "IR version")
    good.ir_version = 8
    good.opset_import[0].version = version
    refuse(good, "opset")


def test_no_opset_and_two_opsets(good: onnx.ModelProto, refuse: Refuse) -> None:
    good.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    refuse(good, "operator set")
    del good.opset_import[:]
    refuse(good, "operator set")


def functions(good: onnx.ModelProto, bodies: dict[str, list[str]]) -> onnx.ModelProto:
    """Functions by name, each a chain of calls."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    good.opset_import.append(helper.make_opsetid("local", 1))
    for name, calls in bodies.items():
        nodes = [
            node(call, [f"v{index}"], [f"v{index + 1}"], domain="" if call == "Neg" else "local")
            for index, call in enumerate(calls)
        ]
        good.functions.append(helper.make_function("local", name, ["v0"], [f"v{len(calls)}"], nodes, imports))
    good.graph.node.append(node(next(iter(bodies)), ["x"], ["extra"], domain="local"))
    return good


def test_functions_that_call_themselves(good: onnx.ModelProto, refuse: Refuse) -> None:
    refuse(functions(good, {"A": ["B"], "B": ["C"], "C": ["A"]}), "calls itself")


def test_a_billion_laughs(good: onnx.ModelProto, refuse: Refuse) -> None:
    bodies = {f"F{depth}": [f"F{depth + 1}"] * 10 for depth in range(9)}
    refuse(functions(good, {**bodies, "F9": ["Neg"] * 10}), "expand to")


def test_functions_nested_very_deep(good: onnx.ModelProto, refuse: Refuse) -> None:
    bodies = {f"F{depth}": [f"F{depth + 1}"] for depth in range(3000)}
    refuse(functions(good, {**bodies, "F3000": ["Neg"]}), "deeper")


def test_a_function_named_like_an_operator(good: onnx.ModelProto, refuse: Refuse) -> None:
    body = [node("Neg", ["a"], ["c"])]
    good.functions.append(helper.make_function("", "MatMul", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)]))
    refuse(good, "'MatMul'")

"""Files that say something twice run in ONNX Runtime, which goes by the first: so do we, and say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.graph import Selection, read_model, stored_tensors, take_inventory
from domino_onnx.graph.order import execution_order
from domino_onnx.scheme import SchemePool, WeightKey

Make = Callable[..., onnx.ModelProto]
Save = Callable[..., Path]
node = helper.make_node


def filled(value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.full((16, 4), value, np.float32), "w")


@pytest.mark.parametrize("is_stored", [False, True])
def test_the_constant_that_onnx_runtime_reads_is_the_weight(
    is_stored: bool, make_model: Make, save: Save, run_ort: Callable[..., list[Any]]
) -> None:
    constants = [node("Constant", [], ["w"], value=filled(value)) for value in (2.0, 3.0)]
    nodes = [*constants[is_stored:], node("MatMul", ["x", "w"], ["y"])]
    model = make_model(nodes, {"x": (1, 16)}, {"y": (1, 4)}, {"w": filled(1.0)} if is_stored else {})
    read = run_ort(model, {"x": np.ones((1, 16), np.float32)})[0][0, 0] / 16
    file = read_model(save(model, check=False))
    assert file.array(stored_tensors(file.proto)[WeightKey("w")]).flat[0] == read
    assert run_ort(file.proto, {"x": np.ones((1, 16), np.float32)})[0][0, 0] / 16 == read
    notes = take_inventory(file, SchemePool.fixed_m(), {}, Selection()).notes
    assert any("constant 'w' is defined twice" in note for note in notes)


def test_an_operator_set_may_be_imported_twice_in_one_version(make_model: Make, save: Save) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": (1, 4)}, {"w": filled(1.0)})
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    file = read_model(save(model, check=False))
    assert len(file.proto.opset_import) == 1
    assert "twice in version 17" in file.notes[0]


def test_names_that_a_body_makes_itself_are_not_read_from_around_it() -> None:
    value = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    body = helper.make_graph([node("Identity", ["t"], ["o"]), node("Relu", ["x"], ["t"])], "body", [], [value])
    nodes = [node("If", ["c"], ["z"], then_branch=body, else_branch=body), node("Identity", ["z"], ["t"])]
    assert execution_order(nodes) == [0, 1]

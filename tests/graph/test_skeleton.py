"""What a skeleton keeps of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from domino_onnx.graph.skeleton import skeleton

node = helper.make_node


def test_large_values_go_and_shapes_stay_wherever_they_are(make_model: Callable[..., Any]) -> None:
    large, small = np.ones((64, 64), np.float32), np.array([1, 4096])
    branch = helper.make_graph(
        [node("Constant", [], ["k"], value=numpy_helper.from_array(large, "inner"))],
        "b",
        [],
        [helper.make_tensor_value_info("k", 1, (64, 64))],
    )
    nodes = [
        node("If", ["c"], ["h"], then_branch=branch, else_branch=branch),
        node("Add", ["h", "w"], ["s"]),
        node("Reshape", ["s", "to"], ["y"], doc_string="a remark" * 1000),
    ]
    model = make_model(nodes, {"x": (1,)}, {"y": None}, {"c": np.array(True), "w": large, "to": small})
    before = model.SerializeToString()
    bare = skeleton(model)
    assert model.SerializeToString() == before
    assert len(bare.SerializeToString()) < 1000 < 3 * large.nbytes < len(before)
    kept = {tensor.name: tensor for tensor in bare.graph.initializer}
    assert numpy_helper.to_array(kept["to"]).tolist() == [1, 4096]
    inner = bare.graph.node[0].attribute[0].g.node[0].attribute[0].t
    for tensor in (kept["w"], inner):
        assert (tuple(tensor.dims), tensor.raw_data) == ((64, 64), b"")
    assert [each.op_type for each in bare.graph.node] == ["If", "Add", "Reshape"]

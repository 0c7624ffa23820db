"""ai.onnx.ml's operators against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.bridge import build
from domino_onnx.runtime import Session

DOMAINS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
SCORES = np.random.default_rng(0).random((4, 3)).astype(np.float32)


def model(node: onnx.NodeProto, shape: tuple[int, ...], output: onnx.ValueInfoProto) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    places = numpy_helper.from_array(np.array([[2, 0]], np.int64), "places")
    graph = helper.make_graph([node], "g", [given], [output], [places] if "places" in node.input else [])
    return helper.make_model(graph, opset_imports=DOMAINS, ir_version=8)


@pytest.mark.parametrize(
    "labels",
    [{"classlabels_int64s": [7, 3, 5]}, {"classlabels_strings": ["b", "a\u00e4", "B"]}],
)
@pytest.mark.parametrize("shape", [(4, 3), (3,)])
def test_scores_come_in_the_order_of_a_map(labels: dict[str, Any], shape: tuple[int, ...]) -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", **labels)
    key = TensorProto.INT64 if "classlabels_int64s" in labels else TensorProto.STRING
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    made = model(node, shape, helper.make_value_info("y", helper.make_sequence_type_proto(kind)))
    given = SCORES if shape == (4, 3) else SCORES[0]
    expected = Session(made.SerializeToString(), threads=1).run({"x": given})["y"]
    np.testing.assert_array_equal(build(made)({"x": torch.from_numpy(given)})["y"].numpy(), expected)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_places_of_the_last_axis(shape: tuple[int, ...], parity: Any) -> None:
    node = helper.make_node("ArrayFeatureExtractor", ["x", "places"], ["y"], domain="ai.onnx.ml")
    made = model(node, shape, helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    assert parity(made, {"x": np.resize(SCORES, shape)}).ok


@pytest.mark.shared
def test_classifiers_of_scikit_learn_are_reproduced(shared: Path) -> None:
    from domino_onnx.bridge import check_readiness
    from domino_onnx.graph import read_model

    found = 0
    for path in sorted((shared / "corpus").glob("sklearn__*.onnx")):
        file = read_model(path)
        if not {"ArrayFeatureExtractor", "ZipMap"}.isdisjoint(node.op_type for node in file.proto.graph.node):
            readiness = check_readiness(file, [], threads=1)
            assert readiness.parity_ok, (path.name, readiness.reason)
            found += 1
    assert found

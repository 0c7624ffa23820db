"""What a session hands out, where ONNX Runtime gives more than tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from domino_onnx.outputs import Survey
from domino_onnx.runtime import Session


def test_maps_from_classes_to_numbers_become_a_table(save: Callable[..., Path]) -> None:
    """As scikit-learn's converters write classifiers: a row a sample, a column a class."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog", "owl"]),
    ]
    maps = helper.make_value_info(
        "maps",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ),
    )
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])], [maps])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    session = Session(save(helper.make_model(graph, opset_imports=domains, ir_version=8)))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    found: Any = session.run({"x": x})["maps"]
    wanted = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    survey = Survey(1)
    survey.add({"maps": found}, 5)
    assert survey.meanings()["maps"].kind == "probabilities"

"""Pieces add up to what protobuf itself writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from domino_onnx.graph.io.serialize import serialized


@given(
    sizes=st.lists(st.integers(0, 300), max_size=5),
    documented=st.booleans(),
    metadata=st.integers(0, 3),
    version=st.integers(0, 2**40),
)
@settings(deadline=None, derandomize=True, max_examples=80)
def test_any_model_is_written_as_protobuf_writes_it(
    sizes: list[int], documented: bool, metadata: int, version: int
) -> None:
    arrays = [numpy_helper.from_array(np.arange(size, dtype=np.float32), f"w{i}") for i, size in enumerate(sizes)]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [], arrays)
    model = helper.make_model(graph, model_version=version)
    if documented:
        model.doc_string = graph.doc_string = "d" * 200
        model.graph.doc_string = "é"
    for index in range(metadata):
        model.metadata_props.add(key="k", value=str(index))
    before = model.SerializeToString()
    assert b"".join(serialized(model)) == before
    assert model.SerializeToString() == before


def test_new_values_are_put_in_on_the_way() -> None:
    arrays = {name: np.arange(600, dtype=np.float32) + index for index, name in enumerate("abc")}
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(array, name) for name, array in arrays.items()])
    model = helper.make_model(graph)
    data = b"".join(serialized(model, {"b": lambda: np.full(600, 7, np.float32)}))
    got = {tensor.name: numpy_helper.to_array(tensor) for tensor in ModelProto.FromString(data).graph.initializer}
    np.testing.assert_array_equal(got["a"], arrays["a"])
    np.testing.assert_array_equal(got["b"], np.full(600, 7))
    np.testing.assert_array_equal(got["c"], arrays["c"])


@pytest.mark.shared
def test_real_models_are_written_byte_for_byte(shared: Path) -> None:
    checked = 0
    for path in sorted((shared / "corpus").glob("*.onnx")):
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception:  # noqa: BLE001 # what isn't protobuf is no subject here
            continue
        assert b"".join(serialized(model)) == model.SerializeToString(), path.name
        checked += 1
    assert checked > 50


def test_names_that_are_no_utf8_are_written_as_they_were_read() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> graph (float[2] x) => (float[2] y) { y = Abs(x) }'
    )
    model.producer_name = "PRODUCER"
    data = model.SerializeToString().replace(b"PRODUCER", b"\xf4\xff\xfe\x80DUC\xc0").replace(b"graph", b"gr\xffph")
    odd = onnx.ModelProto()
    odd.ParseFromString(data)
    assert b"".join(serialized(odd)) == data

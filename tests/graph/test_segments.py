"""Where a model is cut, and what passes from piece to piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.graph import OnnxFile, cut, read_model

ROWS = helper.make_tensor_type_proto(TensorProto.FLOAT, [None, 4])
FLOAT = helper.make_tensor_type_proto(TensorProto.FLOAT, None)


@pytest.fixture
def read(save: Callable[..., Path]) -> Callable[..., OnnxFile]:
    """A model from the text of its graph, with a (4, 4) initializer for each of `stored`."""

    def parse(graph: str, stored: str = "") -> OnnxFile:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
        for name in stored:
            model.graph.initializer.append(numpy_helper.from_array(np.eye(4, dtype=np.float32), name))
        return read_model(save(model))

    return parse


CHAIN = """g (float[n, 4] x) => (float[n, 4] y)
{ a = Relu (x) b = MatMul (a, w) c = Tanh (b) d = MatMul (c, v) e = Add (d, a) y = Neg (e) }"""


def test_segments_begin_at_the_cuts(read: Callable[..., OnnxFile]) -> None:
    segments = cut(read(CHAIN, "wv"), [1, 3])
    assert [[node.op_type for node in segment.nodes] for segment in segments] == [
        ["Relu"],
        ["MatMul", "Tanh"],
        ["MatMul", "Add", "Neg"],
    ]
    assert [segment.inputs for segment in segments] == [("x",), ("a",), ("a", "c")]
    assert [segment.outputs for segment in segments] == [("a",), ("c",), ("y",)]
    assert [segment.constants for segment in segments] == [frozenset(), {"w"}, {"v"}]
    assert [segment.released & {"x", "a", "c", "y"} for segment in segments] == [{"x"}, set(), {"a", "c"}]


def test_what_is_wanted_is_given_out_and_released_at_once(read: Callable[..., OnnxFile]) -> None:
    _, second, third = cut(read(CHAIN, "wv"), [1, 3], ["b", "d"])
    assert (second.outputs, third.outputs) == (("b", "c"), ("d", "y"))
    assert "b" in second.released
    assert "y" not in third.released


def test_a_cut_at_the_first_node_leaves_nothing_ahead(read: Callable[..., OnnxFile]) -> None:
    first, second = cut(read(CHAIN, "wv"), [0])
    assert (first.nodes, first.inputs, first.outputs) == ((), (), ())
    assert len(second.nodes) == 6


def test_no_cut_is_the_whole_model(read: Callable[..., OnnxFile]) -> None:
    (segment,) = cut(read(CHAIN, "wv"), [])
    assert (segment.inputs, segment.outputs, segment.constants) == (("x",), ("y",), {"w", "v"})


def test_constants_are_made_where_they_are_read(read: Callable[..., OnnxFile]) -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y, float[4, 4] t)
    { k = Constant <value = float {2}> () s = Mul (w, k) t = Transpose (s)
      a = MatMul (x, t) b = MatMul (a, t) y = Mul (b, k) }"""
    first, second, third = cut(read(graph, "w"), [3, 4])
    assert first.nodes == ()
    for segment in (second, third):
        assert {node.op_type for node in segment.nodes} == {"Constant", "Mul", "Transpose", "MatMul"}
        assert {"w", "k"} <= segment.constants
    assert second.outputs == ("a",)
    assert third.outputs == ("t", "y")
    assert third.inputs == ("a",)


def test_random_numbers_are_drawn_once(read: Callable[..., OnnxFile]) -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y)
    { r = RandomNormal <shape = [4, 4]> () a = MatMul (x, w) b = Add (a, r) c = MatMul (b, v) y = Add (c, r) }"""
    first, second, third = cut(read(graph, "wv"), [1, 3])
    assert [node.op_type for node in first.nodes] == ["RandomNormal"]
    assert [segment.inputs for segment in (second, third)] == [("r", "x"), ("b", "r")]


def test_the_file_is_left_as_it_is(read: Callable[..., OnnxFile]) -> None:
    file = read(CHAIN, "wv")
    before = file.proto.SerializeToString(deterministic=True)
    types = dict.fromkeys("xacw", FLOAT)
    for segment in cut(file, [1, 3]):
        segment.model(file, types, ["w"])
    assert file.proto.SerializeToString(deterministic=True) == before


def test_a_weight_that_is_fed_becomes_an_input(read: Callable[..., OnnxFile]) -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y)
    { k = Constant <value = float[1] {2}> () t = Transpose (w) a = MatMul (x, t) y = Mul (a, k) }"""
    file = read(graph, "w")
    _, segment = cut(file, [2])
    model: ModelProto = segment.model(file, {"x": FLOAT, "w": FLOAT, "k": FLOAT}, ["w", "k", "elsewhere"])
    assert [value.name for value in model.graph.input] == ["x", "w", "k"]
    assert not model.graph.initializer
    assert [node.op_type for node in model.graph.node] == ["Transpose", "MatMul", "Mul"]
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(segment.model(file, {"x": ROWS})))

"""Which bytes a quantised file has where its nodes leave out zero points, and which means are those of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .quantizing import deployed_in_bytes, told
from .test_rewrite import deployed, normal, ops, sparse

Make = Callable[..., ModelProto]
node = helper.make_node
_STEP = 0.1
_SCALES = {
    "s": np.array(0.03, np.float32),
    "t": np.array(_STEP, np.float32),
    "ws": np.array(0.02, np.float32),
    "z": np.array(0, np.int8),
}


def _integers(*shape: int) -> np.ndarray:
    return (sparse(shape, 1) * 40).clip(-127, 127).astype(np.int8)


def test_bytes_whose_type_an_attribute_says(make_model: Make) -> None:
    model = make_model(
        [
            node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=TensorProto.INT8),
            node("DequantizeLinear", ["q", "s"], ["xf"]),
            node("DequantizeLinear", ["w", "ws"], ["wf"]),
            node("Conv", ["xf", "wf"], ["c"]),
            node("QuantizeLinear", ["c", "t"], ["cq"], output_dtype=TensorProto.INT8),
            node("DequantizeLinear", ["cq", "t"], ["y"]),
        ],
        {"x": (2, 32, 5, 5)},
        {"y": (2, 32, 5, 5)},
        {**_SCALES, "w": _integers(32, 32, 1, 1)},
        opset=21,
        ir=10,
    )
    x = {"x": normal(2, 32, 5, 5)}
    changed, layers, _ = deployed_in_bytes(model, x)
    assert len(layers) == ops(changed).count("NmConvInt8") == 1
    wanted = told(model, x)["y"]
    assert wanted.min() < -10 * _STEP
    assert np.abs(wanted - told(changed, x)["y"]).max() < 1.01 * _STEP


def _given_bytes(make_model: Make, kind: int, *before: NodeProto) -> ModelProto:
    """A convolution in 8 bits of an input that is bytes, or of what the nodes before it make of that."""
    read = before[-1].output[0] if before else "x"
    model = make_model(
        [
            *before,
            node("DequantizeLinear", [read, "s"], ["xf"]),
            node("DequantizeLinear", ["w", "ws"], ["wf"]),
            node("Conv", ["xf", "wf"], ["c"]),
            node("QuantizeLinear", ["c", "t", "z"], ["cq"]),
            node("DequantizeLinear", ["cq", "t", "z"], ["y"]),
        ],
        {"x": (2, 32, 5, 5)},
        {"y": (2, 32, 5, 5)},
        {**_SCALES, "w": _integers(32, 32, 1, 1)},
    )
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
def test_bytes_that_the_model_is_given(make_model: Make, kind: int) -> None:
    """DequantizeLinear without a zero point reads whatever type there is."""
    model = _given_bytes(make_model, kind)
    x = {"x": (normal(2, 32, 5, 5) * 30).astype(helper.tensor_dtype_to_np_dtype(kind))}
    changed, layers, _ = deployed_in_bytes(model, x)
    assert len(layers) == ops(changed).count("NmConvInt8") == 1
    assert np.abs(told(model, x)["y"] - told(changed, x)["y"]).max() < 1.01 * _STEP


def test_bytes_of_a_type_that_nothing_says_are_left_alone(make_model: Make) -> None:
    model = _given_bytes(make_model, TensorProto.INT8, node("Relu", ["x"], ["r"]))
    _, layers, _ = deployed_in_bytes(model, {"x": (normal(2, 32, 5, 5) * 30).astype(np.int8)})
    assert not layers


def test_weights_that_are_rounded_to_the_type_of_an_attribute(make_model: Make) -> None:
    model = make_model(
        [
            node("QuantizeLinear", ["w", "ws"], ["wq"], output_dtype=TensorProto.INT8),
            node("DequantizeLinear", ["wq", "ws"], ["wf"]),
            node("Conv", ["x", "wf"], ["y"]),
        ],
        {"x": (2, 32, 5, 5)},
        {"y": (2, 32, 5, 5)},
        {**_SCALES, "w": sparse((32, 32, 1, 1), 1)},
        opset=21,
        ir=10,
    )
    x = {"x": normal(2, 32, 5, 5)}
    changed, layers, _ = deployed(model, {})
    assert ops(changed) == ["NmConv"]
    assert layers[0].rows.min() < 0
    assert np.abs(told(model, x)["y"] - told(changed, x)["y"]).max() < 1e-4


@pytest.mark.parametrize(("rank", "axes", "in_bytes"), [
    (4, [2, 3], True),
    (4, [-2, -1], True),
    (3, [-2, -1], False),  # the channels, too
    (5, [2, 3], False),  # another axis in space is left
    (5, [-2, -1], False),
])  # fmt: skip
@pytest.mark.parametrize("keeps", [0, 1])
def test_means_of_channels_alone_are_computed_in_bytes(
    make_model: Make, rank: int, axes: Sequence[int], in_bytes: bool, keeps: int
) -> None:
    places = (6, 5, 4)[: rank - 2]
    model = make_model(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["xf"]),
            node("DequantizeLinear", ["w", "ws"], ["wf"]),
            node("Conv", ["xf", "wf"], ["c"]),
            node("QuantizeLinear", ["c", "t", "z"], ["cq"]),
            node("DequantizeLinear", ["cq", "t", "z"], ["cf"]),
            node("ReduceMean", ["cf"], ["y"], axes=axes, keepdims=keeps),
        ],
        {"x": (2, 32, *places)},
        {"y": None},
        {**_SCALES, "w": _integers(32, 32, *[1] * (rank - 2))},
    )
    x: dict[str, Any] = {"x": normal(2, 32, *places)}
    changed, _, _ = deployed_in_bytes(model, x)
    assert ("NmGlobalAveragePoolInt8" in ops(changed)) == in_bytes
    wanted, found = told(model, x)["y"], told(changed, x)["y"]
    assert wanted.shape == found.shape
    assert np.abs(wanted - found).max() < 0.2 * _STEP


def test_the_domain_of_the_operators_is_imported_once(make_model: Make) -> None:
    """Also where a deployed file is deployed again."""
    model = make_model(
        [node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "v"], ["y"])],
        {"x": (1, 32, 4, 4)},
        {"y": None},
        {"w": sparse((32, 32, 1, 1), 1, 1), "v": sparse((32, 32, 1, 1), 1, 2).astype(np.float16)},
    )
    model.graph.node.insert(1, node("Cast", ["v"], ["v32"], to=1))
    model.graph.node[2].input[1] = "v32"
    once, _, _ = deployed(model, {})
    del once.graph.node[next(i for i, each in enumerate(once.graph.node) if each.op_type == "Cast")]
    once.graph.initializer.append(numpy_helper.from_array(sparse((32, 32, 1, 1), 1, 2), "v32"))
    again, _, _ = deployed(once, {})
    assert ops(once) == ["NmConv", "Conv"]
    assert ops(again) == ["NmConv", "NmConv"]
    for each in (once, again):
        assert [opset.domain for opset in each.opset_import] == ["", "domino_onnx"]
    x = {"x": normal(1, 32, 4, 4)}
    assert np.abs(told(once, x)["y"] - told(again, x)["y"]).max() < 1e-4

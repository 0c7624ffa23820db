"""Sound models that `fuzz` changes: each operator of the domain `domino_onnx` by itself, and a network of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["Seed", "seeds"]

_FROM_BYTES = ("NmToFloats", "NmGlobalAveragePoolInt8")
_TO_BYTES = ("NmToBytes",)
_OF_BYTES = ("NmConvInt8", "NmPoolInt8", "NmUpsampleInt8")
_PLACES = {"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2]}
_MAXIMUM = {"mode": "max", "count_include_pad": 0, "ceil_mode": 1}
_GROUPED = {"m": 16, "digits": 2}
_Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Seed:
    """A model, and of each of its inputs the shape and the type."""

    name: str
    model: ModelProto
    inputs: Mapping[str, tuple[tuple[int, ...], type]]


def seeds() -> list[Seed]:
    """All of them, the same ones each time."""
    return [*_matrices(), *_float_convolutions(), *_byte_convolutions(), *_attention(), *_others(), _network()]


def _matrices() -> list[Seed]:
    bias = np.ones(40, np.float32)
    bits = np.zeros((40, 48), np.float32)
    bits[:, ::5] = 1.5
    bitmask = {"values": np.append(np.float32(0), bits[bits != 0]), "codes": np.packbits(bits != 0)}
    shape = {"weight_shape": [40, 48]}
    integers = {**_stored((40, 48), np.int8), "scales": bias, "bias": np.arange(40, dtype=np.float32)}
    return [
        _single("NmMatMul", {**_stored((40, 48), np.float32), "bias": bias}, {**shape, **_GROUPED}, (3, 48)),
        _single("NmMatMul", bitmask, {**shape, "m": 0}, (70, 48), residual=(70, 40)),
        _single("NmMatMulInt8", integers, {**shape, **_GROUPED}, (3, 48), residual=(3, 40)),
    ]


def _float_convolutions() -> list[Seed]:
    """Wide ones, and those of few channels, which have loops of their own: depthwise ones and a stem."""
    bias = np.ones(40, np.float32)
    wide = {**_stored((40, 9 * 32), np.float32), "bias": bias}
    stem = {**_every(32 * 27, np.float32), "bias": np.ones(32, np.float32)}
    depthwise = {**_every(40 * 9, np.float32), "bias": bias}
    deep = {**_every(16 * 27, np.float32), "bias": np.ones(16, np.float32)}
    gelu = {"weight_shape": [40, 32, 3, 3], "activation": "Gelu", "gain": 2.0, "group": 1, **_PLACES, **_GROUPED}
    swish = {"weight_shape": [40, 1, 3, 3], "activation": "Swish", "group": 20, "m": 0, **_PLACES}
    few = {"weight_shape": [32, 3, 3, 3], "min": 0.0, "max": 6.0, "group": 1, "m": 0, **_PLACES}
    cube = {"weight_shape": [16, 1, 3, 3, 3], "group": 16, "m": 0, "pads": [1] * 6}
    return [
        _single("NmConv", wide, gelu, (2, 32, 9, 7), residual=(2, 40, 5, 5)),
        _single(
            "NmConv",
            _stored((40, 16), np.float32),
            {"weight_shape": [40, 16, 1, 1, 1], "group": 2, **_GROUPED},
            (1, 32, 3, 4, 5),
        ),
        _single("NmConv", depthwise, swish, (2, 20, 9, 70), (2, 40, 5, 68), ", depthwise"),
        _single("NmConv", stem, few, (2, 3, 19, 37), kind_of=", stem"),
        _single("NmConv", deep, cube, (1, 16, 4, 5, 6), (1, 16, 4, 5, 6), ", depthwise"),
    ]


def _byte_convolutions() -> list[Seed]:
    behind = {"scales": np.full(40, 0.01, np.float32), "offsets": np.arange(40, dtype=np.float32)}
    wide, depthwise = _stored((40, 9 * 32), np.int8), _every(40 * 9, np.int8)
    swish = {"weight_shape": [40, 32, 3, 3], "x_zero_point": 7, "activation": "Swish", "group": 1, **_PLACES}
    bounds = {"min": 3.0, "max": 250.0}
    clipped = {"weight_shape": [40, 1, 3, 3], "x_zero_point": 7, "m": 0, "group": 40, **bounds, **_PLACES}
    large = {"weight_shape": [40, 1, 5, 5], "x_zero_point": 255, "group": 40, "m": 0, "pads": [2] * 4}
    return [
        _single("NmConvInt8", {**wide, **behind}, {**swish, **_GROUPED}, (2, 9, 7, 32), residual=(2, 5, 5, 40)),
        _single("NmConvInt8", {**depthwise, **behind}, clipped, (2, 9, 7, 40), (2, 5, 5, 40), ", depthwise"),
        _single("NmConvInt8", {**_every(40 * 25, np.int8), **behind}, large, (2, 9, 7, 40), kind_of=", depthwise"),
    ]


def _attention() -> list[Seed]:
    """Of images with a mask and transposes, and of three axes."""
    orders = {"q_order": [0, 2, 1, 3], "k_order": [0, 2, 3, 1], "v_order": [0, 2, 1, 3], "y_order": [0, 2, 1, 3]}
    images = {"q": (2, 13, 3, 8), "k": (2, 21, 3, 8), "v": (2, 21, 3, 5), "mask": (2, 1, 13, 21)}
    lines = {"q": (3, 70, 32), "k": (3, 32, 40), "v": (3, 40, 16)}
    return [
        _seed(
            f"NmAttention{kind}",
            [_node("NmAttention", list(shapes), "y", attributes)],
            {},
            {name: (shape, np.float32) for name, shape in shapes.items()},
            TensorProto.FLOAT,
        )
        for kind, shapes, attributes in ((", images", images, {"scale": 0.3, **orders}), (", lines", lines, {}))
    ]


def _others() -> list[Seed]:
    pool = {"kernel_shape": [3, 2], "zero_point": 9, **_PLACES}
    average = {"mode": "average", "count_include_pad": 1, "ceil_mode": 0}
    grid = {"scale": 0.1, "zero_point": 3}
    return [
        _single("NmPoolInt8", {}, {**pool, **_MAXIMUM}, (2, 9, 7, 40)),
        _single("NmPoolInt8", {}, {**pool, **average}, (2, 9, 7, 40)),
        _single("NmUpsampleInt8", {}, {"factors": [2, 3]}, (2, 9, 7, 40)),
        _single("NmGlobalAveragePoolInt8", {}, grid, (2, 9, 7, 600)),
        _single("NmActivation", {}, {"activation": "GeluTanh", "scale": 2.0, "shift": 1.0}, (2, 9, 5000)),
        _single("NmToBytes", {}, grid, (2, 32, 9, 7)),
        _single("NmToFloats", {}, grid, (2, 9, 7, 32)),
    ]


def _network() -> Seed:
    """Regions of bytes and of floats, as `domino-onnx deploy` writes them."""
    behind = {"scales": np.full(32, 0.01, np.float32), "offsets": np.full(32, 9, np.float32)}
    stored = {
        **_named("a", {**_every(32 * 27, np.float32), "bias": np.ones(32, np.float32)}),
        **_named("b", {**_stored((32, 9 * 32), np.int8), **behind}),
        **_named("c", {**_every(32 * 9, np.int8), **behind}),
        **_named("d", {**_stored((32, 32), np.int8), **behind}),
        **_named("e", {**_stored((40, 32), np.float32), "bias": np.ones(40, np.float32)}),
    }
    same = {"pads": [1, 1, 1, 1]}
    grid = {"scale": 0.1, "zero_point": 3}
    nodes = [
        _node("NmConv", ["x", *_of("a", stored)], "1", {"weight_shape": [32, 3, 3, 3], "group": 1, "m": 0, **same}),
        _node("NmToBytes", ["1"], "2", grid),
        _node(
            "NmConvInt8",
            ["2", *_of("b", stored)],
            "3",
            {"weight_shape": [32, 32, 3, 3], "group": 1, "x_zero_point": 3, **same, **_GROUPED},
        ),
        _node(
            "NmConvInt8",
            ["3", *_of("c", stored), "2"],
            "4",
            {"weight_shape": [32, 1, 3, 3], "group": 32, "x_zero_point": 3, "residual_scale": 0.5, "m": 0, **same},
        ),
        _node("NmPoolInt8", ["4"], "5", {**_MAXIMUM, "kernel_shape": [2, 2], "strides": [2, 2], "zero_point": 3}),
        _node(
            "NmConvInt8",
            ["5", *_of("d", stored)],
            "6",
            {"weight_shape": [32, 32, 1, 1], "group": 1, "x_zero_point": 3, **_GROUPED},
        ),
        _node("NmGlobalAveragePoolInt8", ["6"], "7", grid),
        helper.make_node("Flatten", ["7"], ["8"]),
        _node("NmMatMul", ["8", *_of("e", stored)], "y", {"weight_shape": [40, 32], **_GROUPED}),
    ]
    return _seed("network", nodes, stored, {"x": ((2, 3, 12, 9), np.float32)}, TensorProto.FLOAT)


def _stored(shape: tuple[int, int], kind: type, n: int = 2, m: int = 16) -> _Arrays:
    """A weight of N:M groups, by positions."""
    generator = np.random.default_rng(0)
    groups = shape[0] * shape[1] // m
    positions = np.sort(generator.random((groups, m)).argsort(1)[:, :n], 1).reshape(-1, 2)
    values = (generator.normal(size=(groups, n)) * (1 if kind is np.float32 else 50)).astype(kind)
    return {"values": values, "codes": (positions[:, 0] + 16 * positions[:, 1]).astype(np.uint8)}


def _every(count: int, kind: type) -> _Arrays:
    """A weight without zeros, which has a bit for each."""
    values = np.append(0, np.random.default_rng(0).integers(1, 100, count)).astype(kind)
    return {"values": values, "codes": np.packbits(np.ones(count, np.uint8))}


def _single(
    op: str,
    tensors: _Arrays,
    attributes: dict[str, Any],
    x: tuple[int, ...],
    residual: tuple[int, ...] | None = None,
    kind_of: str = "",
) -> Seed:
    """A model of one node."""
    kind = np.uint8 if op in (*_FROM_BYTES, *_OF_BYTES) else np.float32
    inputs = {"x": (x, kind)} | ({} if residual is None else {"residual": (residual, kind)})
    absent = [""] * (residual is not None and "Int8" not in op and "bias" not in tensors)
    names = ["x", *tensors, *absent, *(["residual"] if residual is not None else [])]
    of_y = TensorProto.UINT8 if op in (*_TO_BYTES, *_OF_BYTES) else TensorProto.FLOAT
    return _seed(f"{op}{kind_of}", [_node(op, names, "y", attributes)], tensors, inputs, of_y)


def _seed(
    name: str,
    nodes: Sequence[NodeProto],
    stored: _Arrays,
    inputs: Mapping[str, tuple[tuple[int, ...], type]],
    of_y: int,
) -> Seed:
    kinds = {np.uint8: TensorProto.UINT8, np.float32: TensorProto.FLOAT}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(each, kinds[kind], None) for each, (_, kind) in inputs.items()],
        [helper.make_tensor_value_info("y", of_y, None)],
        [numpy_helper.from_array(value, each) for each, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("domino_onnx", 1)]
    return Seed(name, helper.make_model(graph, opset_imports=opsets, ir_version=9), inputs)


def _node(op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]) -> NodeProto:
    return helper.make_node(op, list(inputs), [output], domain="domino_onnx", **attributes)


def _named(prefix: str, tensors: _Arrays) -> _Arrays:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _of(prefix: str, stored: _Arrays) -> list[str]:
    return [name for name in stored if name.startswith(f"{prefix}.")]

"""Layers without zeros, pools and concatenations between deployed layers: whole regions have no borders inside."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import Grid, Kind, find_layers, open_graph, rewritten_graph, seen_ranges
from domino_onnx.pipeline import session
from domino_onnx.stages.deploying.recipes import Recipe, choice_of

from .test_rewrite import deployed, normal, ops, outputs, same, sparse

Make = Callable[..., ModelProto]
node = helper.make_node


@pytest.fixture
def mobile(make_model: Make) -> ModelProto:
    """Stem, depthwise and pointwise convolutions, a residual, and a classifier."""
    square: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    return make_model(
        [
            node("Conv", ["x", "stem"], ["a"], strides=[2, 2], **square),
            node("Relu", ["a"], ["ra"]),
            node("Conv", ["ra", "d1", "bias"], ["b"], group=32, **square),
            node("Clip", ["b", "low", "six"], ["rb"]),
            node("Conv", ["rb", "p1"], ["c"]),
            node("Add", ["ra", "c"], ["s"]),
            node("Conv", ["s", "d2"], ["d"], group=32, strides=[2, 2], **square),
            node("BatchNormalization", ["d", "scale", "bias", "mean", "variance"], ["n"]),
            node("Clip", ["n", "low", "six"], ["rn"]),
            node("Conv", ["rn", "p2"], ["e"]),
            node("GlobalAveragePool", ["e"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "w"], ["y"]),
        ],
        {"x": ("N", 3, 29, 26)},
        {"y": ("N", 16)},
        {
            "stem": normal(32, 3, 3, 3),
            "d1": normal(32, 1, 3, 3),
            "bias": normal(32),
            "low": np.array(0, np.float32),
            "six": np.array(6, np.float32),
            "p1": sparse((32, 32, 1, 1), 1, 1),
            "d2": normal(32, 1, 3, 3),
            "scale": normal(32),
            "mean": normal(32),
            "variance": np.abs(normal(32)) + 1,
            "p2": sparse((64, 32, 1, 1), 1, 2),
            "w": sparse((64, 16), 0, 3),
        },
    )


SHAPES = {"ra": (2, 32, 15, 13), "c": (2, 32, 15, 13)}


def in_bytes(model: ModelProto, x: np.ndarray) -> ModelProto:
    """The model with all convolutions in bytes, on grids that were seen on one input."""
    given = [name for each in model.graph.node for name in each.output]
    shown = ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in given)
    run = session(shown.SerializeToString())  # type: ignore[arg-type]
    ranges = seen_ranges(lambda inputs: dict(zip(given, run.run(None, inputs), strict=True)), [{"x": x}], ["x", *given])
    graph = open_graph(model)
    layers, _ = find_layers(graph, SHAPES)
    around = {name for each in layers if each.op == "Conv" for name in (each.data, each.output, each.residual) if name}
    kinds: Any = {layer: "int8" if layer.op == "Conv" else "float32" for layer in layers}
    return rewritten_graph(model, graph, kinds, {name: Grid.of(*ranges[name][0]) for name in around})


def close(model: ModelProto, changed: ModelProto, x: np.ndarray) -> None:
    wanted, found = outputs(model, {"x": x})[0], outputs(changed, {"x": x})[0]
    assert np.sqrt(np.mean((wanted - found) ** 2)) < 0.02 * np.abs(wanted).max()


def test_all_of_a_network_in_floats(mobile: ModelProto) -> None:
    changed, layers, kept = deployed(mobile, SHAPES)
    assert ops(changed) == ["NmConv"] * 5 + ["GlobalAveragePool", "Flatten", "NmMatMul"]
    assert [layer.skips for layer in layers] == [False, False, True, False, True, True]
    assert not kept
    same(mobile, changed, {"x": normal(2, 3, 29, 26)})


def test_all_of_a_networkin_bytes(mobile: ModelProto) -> None:
    x = normal(2, 3, 29, 26)
    changed = in_bytes(mobile, x)
    assert ops(changed) == ["NmToBytes", *["NmConvInt8"] * 5, "NmGlobalAveragePoolInt8", "Flatten", "NmMatMul"]
    close(mobile, changed, x)


@pytest.mark.parametrize(
    "pool",
    [
        node("MaxPool", ["s"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("AveragePool", ["s"], ["p"], kernel_shape=[2, 3], count_include_pad=1, pads=[0, 1, 1, 1]),
    ],
)
def test_a_concatenation_and_a_poolin_bytes(make_model: Make, pool: onnx.NodeProto) -> None:
    """As SqueezeNet has them; their activations share a grid, and one of them is an output in floats as well."""
    model = make_model(
        [
            node("Conv", ["x", "w1"], ["a"]),
            node("Conv", ["x", "w2"], ["b"]),
            node("Concat", ["a", "b"], ["s"], axis=1),
            pool,
            node("Conv", ["p", "w3"], ["y"]),
        ],
        {"x": ("N", 16, 9, 8)},
        {"y": None, "s": None},
        {
            "w1": sparse((32, 16, 1, 1), 1, 1),
            "w2": 3 * sparse((16, 16, 1, 1), 1, 2),
            "w3": sparse((16, 48, 1, 1), 1, 3),
        },
    )
    x = normal(2, 16, 9, 8)
    changed = in_bytes(model, x)
    assert sorted(ops(changed)) == sorted(
        ["NmToBytes", *["NmConvInt8"] * 3, "Concat", "NmPoolInt8", "NmToFloats", "NmToFloats"]
    )
    close(model, changed, x)


def test_a_pool_that_bytes_cannot_be_computed_for_gets_floats(make_model: Make) -> None:
    model = make_model(
        [
            node("Conv", ["x", "w1"], ["a"]),
            node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
            node("Conv", ["p", "w2"], ["y"]),
        ],
        {"x": ("N", 16, 9, 9)},
        {"y": ("N", 16, 5, 5)},
        {"w1": sparse((32, 16, 1, 1), 1, 1), "w2": sparse((16, 32, 1, 1), 1, 2)},
    )
    x = normal(2, 16, 9, 9)
    changed = in_bytes(model, x)
    assert "MaxPool" in ops(changed)
    close(model, changed, x)


def test_what_is_told_of_layers_has_a_form_in_json(mobile: ModelProto) -> None:
    layers, _ = find_layers(open_graph(mobile), SHAPES)
    told = json.loads(json.dumps([(layer.zeros, layer.skips) for layer in layers]))
    assert [skips for _, skips in told] == [False, False, True, False, True, True]
    assert [zeros > 0.8 for zeros, _ in told] == [False, False, True, False, True, True]


def test_depthwise_layers_alone_stay(make_model: Make) -> None:
    model = make_model(
        [node("Conv", ["x", "w"], ["y"], group=16)], {"x": (1, 16, 5, 5)}, {"y": None}, {"w": normal(16, 1, 3, 3)}
    )
    _, layers, kept = deployed(model, {})
    assert not layers
    assert [each.reason for each in kept] == ["it has no zeros to skip, and no other layer has"]


def test_recipes_take_regions_whose_layers_gain_nothing_alone(mobile: ModelProto) -> None:
    layers, _ = find_layers(open_graph(mobile), SHAPES)
    slow: dict[Kind, float] = {"dense": 2.0, "float32": 3.0, "int8": 4.0}
    quick: dict[Kind, float] = {"dense": 3.0, "float32": 2.0, "int8": 1.0}
    timed = {layer: quick if layer.skips else slow for layer in layers}

    def kinds(gain: float, others: Any, *of: str) -> list[str]:
        return list(choice_of(timed, Recipe(gain, others), of).values())

    assert kinds(0.97, "alone", "float32") == ["dense", "dense", "float32", "dense", "float32", "float32"]
    assert kinds(0.97, "depthwise", "float32") == ["dense", *["float32"] * 5]
    assert kinds(0.5, "deployed", "float32") == ["float32", "float32", "dense", "float32", "dense", "dense"]
    assert kinds(math.inf, "deployed", "float32", "int8") == ["int8"] * 6

"""What follows a product joins it, in whatever way an exporter wrote it, and gives what it gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto

from domino_onnx.deployment import Grid, Kind, Layer, find_layers, open_graph, rewritten_graph, with_activations
from domino_onnx.pipeline import session

from .test_rewrite import deployed, normal, ops, outputs, same, sparse

SCALARS = {"half": 0.5, "one": 1, "two": 2, "three": 3, "six": 6, "root": 2**0.5, "of_cube": 0.044715}
HARD_SWISH = "a = Add(m, three) b = Clip(a, zero, six) c = Mul(m, b) y = Div(c, six)"
GELU = "a = Div(m, root) b = Erf(a) c = Add(b, one) d = Mul(m, c) y = Mul(d, half)"
TANH = "a = Mul(m, m) b = Mul(m, a) c = Mul(b, of_cube) d = Add(m, c) e = Mul(d, slope) f = Tanh(e)"
SPELLINGS = [
    ("HardSwish", HARD_SWISH, 13),
    ("HardSwish", "y = HardSwish(m)", 14),
    ("HardSwish", "a = HardSigmoid<alpha = 0.16666667, beta = 0.5>(m) y = Mul(a, m)", 13),
    ("Swish", "a = Sigmoid(m) y = Mul(m, a)", 13),
    ("Swish", "a = Mul(m, quick) b = Sigmoid(a) y = Mul(m, b)", 13),
    ("Gelu", GELU, 13),
    ("Gelu", "a = Mul(m, half) b = Div(m, root) c = Erf(b) d = Add(one, c) y = Mul(a, d)", 13),
    ("Gelu", "y = Gelu(m)", 20),
    ("GeluTanh", f"{TANH} g = Add(one, f) h = Mul(half, g) y = Mul(m, h)", 13),
    ("GeluTanh", "a = Pow(m, three) b = Mul(a, of_cube) c = Add(m, b) d = Mul(c, slope) e = Tanh(d) f = Add(e, one) "
     "g = Mul(m, half) y = Mul(g, f)", 13),
    ("GeluTanh", 'y = Gelu<approximate = "tanh">(m)', 20),
]  # fmt: skip


def _model(text: str, opset: int = 13, product: str = "m = MatMul(x, w)", *, output: str = "y") -> ModelProto:
    """A product of 64 inputs and 40 outputs as `m`, and what is behind it."""
    nodes = f"{product} {text}"
    header = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,5,64] x) => (float[N,5,40] {output})'
    model = onnx.parser.parse_model(f"{header} {{ {nodes} }}")
    stored = {name: np.array(value, np.float32) for name, value in SCALARS.items()}
    stored |= {"slope": np.array((2 / np.pi) ** 0.5, np.float32)}
    stored |= {"zero": np.array(0, np.float32), "quick": np.array([1.702], np.float32)}
    stored |= {"w": 4 * sparse((64, 40), 0), "v": normal(40)}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in stored.items() if name in used
    )
    return model


@pytest.mark.parametrize(("name", "text", "opset"), SPELLINGS)
def test_spellings_of_activations(name: str, text: str, opset: int) -> None:
    model = _model(text, opset)
    changed, layers, _ = deployed(model, {"m": (3, 5, 40)})
    assert ops(changed) == ["NmMatMul"]
    assert layers[0].activation is not None
    assert layers[0].activation.name == name
    same(model, changed, {"x": normal(3, 5, 64)})


def test_a_scale_and_a_bias_join_on_both_sides() -> None:
    """As PaddlePaddle's PP-LCNetV3 has them around each HardSwish."""
    text = "s = Mul(p, half) m = Add(s, v) " + HARD_SWISH.replace("y =", "h =") + " t = Mul(h, two) y = Add(t, three)"
    model = _model(text, product="p = MatMul(x, w)")
    changed, layers, _ = deployed(model, {"p": (3, 5, 40)})
    assert ops(changed) == ["NmMatMul"]
    assert layers[0].activation is not None
    assert (layers[0].activation.gain, layers[0].activation.shift) == (2, 3)
    same(model, changed, {"x": normal(3, 5, 64)})


@pytest.mark.parametrize("gain", [1e-6, -3e-7, 2.000001, 1e6])
def test_a_factor_keeps_its_value_however_small(gain: float) -> None:
    model = _model("a = Sigmoid(m) b = Mul(m, a) y = Mul(b, half)")
    for tensor in model.graph.initializer:
        if tensor.name == "half":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(gain, np.float32), "half"))
    changed, layers, _ = deployed(model, {"m": (3, 5, 40)})
    assert ops(changed) == ["NmMatMul"]
    assert layers[0].activation is not None
    assert layers[0].activation.gain == pytest.approx(gain, rel=1e-7)
    wanted, found = (outputs(each, {"x": normal(3, 5, 64)})[0] for each in (model, changed))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("bound", [2e4, 65504, 1e30])
def test_bounds_behind_an_activation_stay(bound: float) -> None:
    """As a network has them that was trained in float16."""
    model = _model("a = Sigmoid(m) b = Mul(m, a) y = Clip(b, low, high)")
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(sign * bound, np.float32), name)
        for sign, name in ((-1, "low"), (1, "high"))
    )
    changed, layers, _ = deployed(model, {"m": (3, 5, 40)})
    assert ops(changed) == ["NmMatMul", "Clip"]
    assert layers[0].activation is not None
    same(model, changed, {"x": np.float32(10 * bound) * normal(3, 5, 64)})


@pytest.mark.parametrize(
    ("text", "left", "output"),
    [
        (HARD_SWISH.replace("three", "two"), ["Add", "Clip", "Mul", "Div"], "y"),  # another function
        (GELU, ["Div", "Erf", "Add", "Mul", "Mul"], "m"),  # what it is of is an output
        (GELU.replace("y =", "e =") + " y = Add(e, b)", ["Div", "Erf", "Add", "Mul", "Mul", "Add"], "y"),
        ("a = Sigmoid(m) b = Mul(m, a) y = Mul(b, m)", ["Sigmoid", "Mul", "Mul"], "y"),
        ("a = Sigmoid(x) y = Mul(m, a)", ["Sigmoid", "Mul"], "y"),  # of another tensor
    ],
)  # fmt: skip
def test_what_only_looks_like_an_activation_stays(text: str, left: list[str], output: str) -> None:
    model = _model(text.replace("Sigmoid(x)", "Sigmoid(v)"), output=output)
    changed, layers, _ = deployed(model, {"m": (3, 5, 40)})
    assert sorted(ops(changed)) == sorted(["NmMatMul", *left])
    assert layers[0].activation is None
    same(model, changed, {"x": normal(3, 5, 64)})


def _convolution(tail: str) -> ModelProto:
    header = '<ir_version: 8, opset_import: ["" : 14]> g (float[N,32,6,5] x) => (float[N,48,6,5] y)'
    model = onnx.parser.parse_model(f"{header} {{ c = Conv(x, w) {tail} }}")
    generator = np.random.default_rng(2)
    stored = {"w": sparse((48, 32, 1, 1), 1), "half": np.array(0.5, np.float32), "v": normal(1, 48, 1, 1)}
    stored |= {name: generator.uniform(0.5, 2, 48).astype(np.float32) for name in ("gamma", "beta", "mean", "variance")}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in stored.items() if name in used
    )
    return model


NORMALIZED = "b = BatchNormalization<epsilon = 0.1>(c, gamma, beta, mean, variance) "


def test_batch_normalisation_joins() -> None:
    model = _convolution(NORMALIZED + "s = Add(b, x2) y = Relu(s)".replace("x2", "v"))
    changed, layers, _ = deployed(model, {"c": (2, 48, 6, 5)})
    assert ops(changed) == ["NmConv"]
    assert layers[0].low == 0
    same(model, changed, {"x": normal(2, 32, 6, 5)})


def test_batch_normalisation_that_trains_stays() -> None:
    model = _convolution(NORMALIZED.replace("b =", "y =").replace("0.1", "0.1, training_mode = 0"))
    graph = open_graph(model)
    graph.nodes[1].attrs["training_mode"] = 1
    layers, _ = find_layers(graph, {"c": (2, 48, 6, 5)})
    assert len(layers[0].nodes) == 1


def _in_bytes(model: ModelProto, grids: dict[str, Grid]) -> tuple[ModelProto, list[Layer]]:
    graph = open_graph(model)
    layers, _ = find_layers(graph, {"c": (2, 48, 6, 5)})
    kinds: dict[Layer, Kind] = dict.fromkeys(layers, "int8")
    return rewritten_graph(model, graph, kinds, grids), layers


@pytest.mark.parametrize("tail", ["y = HardSwish(c)", "a = Sigmoid(c) m = Mul(c, a) y = Mul(m, half)"])
def test_activations_of_convolutions_in_bytes(tail: str) -> None:
    model, x = _convolution(tail), normal(2, 32, 6, 5)
    wanted = outputs(model, {"x": x})[0]
    grids = {"x": Grid.of(float(x.min()), float(x.max())), "y": Grid.of(float(wanted.min()), float(wanted.max()))}
    changed, layers = _in_bytes(model, grids)
    assert ops(changed) == ["NmToBytes", "NmConvInt8", "NmToFloats"]
    assert layers[0].activation is not None
    found = session(changed.SerializeToString()).run(None, {"x": x})[0]  # type: ignore[arg-type]
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def _alone(text: str, shapes: dict[str, tuple[int, ...]], **stored: Any) -> tuple[ModelProto, ModelProto, int]:
    header = '<ir_version: 8, opset_import: ["" : 14]> g (float[N,32] x) => (float[N,32] y)'
    model = onnx.parser.parse_model(f"{header} {{ {text} }}")
    arrays = {name: np.array(value, np.float32) for name, value in {**SCALARS, "zero": 0, **stored}.items()}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in arrays.items() if name in used
    )
    return model, *with_activations(model, shapes)


def test_activations_that_no_layer_takes() -> None:
    """Behind any node, with a factor and a summand in front of it and behind it."""
    text = "n = Abs(x) p = Mul(n, two) m = Add(half, p) " + HARD_SWISH.replace("y =", "h =") + " y = Mul(h, three)"
    model, changed, count = _alone(text, {"n": (4, 32)})
    assert (ops(changed), count) == (["Abs", "NmActivation"], 1)
    same(model, changed, {"x": 3 * normal(4, 32)})


def test_each_node_belongs_to_one_activation() -> None:
    text = "m = Abs(x) " + HARD_SWISH.replace("y =", "h =") + " s = Sigmoid(h) y = Mul(h, s)"
    model, changed, count = _alone(text, {"m": (4, 32), "h": (4, 32)})
    assert (ops(changed), count) == (["Abs", "NmActivation", "NmActivation"], 2)
    same(model, changed, {"x": 3 * normal(4, 32)})


@pytest.mark.parametrize(
    ("text", "shapes", "stored"),
    [
        ("m = Abs(x) y = HardSwish(m)", {"m": (4, 32)}, {}),  # one pass already
        ("m = Abs(x) " + HARD_SWISH, {}, {}),  # not known to be of float32
        ("m = Abs(x) q = Mul(m, m) a = Sigmoid(q) y = Mul(m, a)", {"m": (4, 32), "q": (4, 32)}, {}),
        ("m = Abs(x) " + HARD_SWISH.replace("y =", "t =") + " y = Squeeze(t)", {"m": (4, 32)}, {"six": [[[6]]]}),
    ],
)
def test_what_stays_as_it_is(text: str, shapes: dict[str, tuple[int, ...]], stored: dict[str, Any]) -> None:
    model, changed, count = _alone(text, shapes, **stored)
    assert count == 0
    assert changed is model


def test_what_a_subgraph_reads_stays(make_model: Callable[..., ModelProto]) -> None:
    node = onnx.helper.make_node
    branches = [
        onnx.helper.make_graph([node(op, ["a"], ["b"])], op, [], [onnx.helper.make_tensor_value_info("b", 1, None)])
        for op in ("Neg", "Abs")
    ]
    model = make_model(
        [
            node("Abs", ["x"], ["m"]),
            node("Sigmoid", ["m"], ["a"]),
            node("Mul", ["m", "a"], ["y"]),
            node("If", ["c"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        ],
        {"x": ("N", 32)},
        {"y": ("N", 32), "z": None},
        {"c": np.array(True)},
    )
    assert with_activations(model, {"m": (4, 32)}) == (model, 0)

"""How nodes use a weight: their bias, what is joined to their outputs and what clips them, and who else reads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.graph import LinearUse, infer_shapes, linear_uses, read_model, take_inventory
from domino_onnx.graph.order import captured
from domino_onnx.scheme import SchemePool, WeightKey

Uses = Callable[..., dict[str, tuple[LinearUse, ...]]]


@pytest.fixture
def uses(save: Callable[..., Path]) -> Uses:
    """`uses(model)`: what `linear_uses` says of every site, by the weight's name."""

    def find(model: ModelProto, *, check: bool = True) -> dict[str, tuple[LinearUse, ...]]:
        file = read_model(save(model, check=check))
        inventory = take_inventory(file, SchemePool.fixed_m(4), {})
        return {key.name: found for key, found in linear_uses(file, inventory).items()}

    return find


def parsed(body: str, *, opset: int = 17, inputs: str = "float[n, 8] x", outputs: str = "float[n, 4] y") -> ModelProto:
    """A model from the text of its nodes."""
    head = f'<ir_version: 8, opset_import: ["" : {opset}, "local" : 1]>'
    return onnx.parser.parse_model(f"{head} g ({inputs}) => ({outputs}) {body}")


def with_arrays(model: ModelProto, **shapes: tuple[int, ...]) -> ModelProto:
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def test_a_gemm_is_described(uses: Uses) -> None:
    model = parsed("{ y = Gemm <transB = 1, alpha = 2.0> (x, w, b) }")
    (use,) = uses(with_arrays(model, w=(4, 8), b=(4,)))["w"]
    assert (use.index, use.op, use.value_shape, use.axes, use.weight_input) == (0, "Gemm", (4, 8), (0, 1), 1)
    assert (use.data, use.output, use.joined, use.clipped) == ("x", "y", None, None)
    assert dict(use.attributes) == {"transB": 1, "alpha": 2.0}
    assert use.bias is not None
    assert (use.bias.key, use.bias.shape, use.bias.inside) == (WeightKey("b"), (4,), True)


CONV = "float[n, 8, 5, 5] x", "float[n, 8, 5, 5] y"


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("group", [1, 2])
def test_bias_of_a_convolution(op: str, group: int, uses: Uses) -> None:
    shape = (8, 8 // group, 1, 1)
    model = parsed(f"{{ y = {op} <group = {group}, pads = [0, 0, 0, 0]> (x, w, b) }}", inputs=CONV[0], outputs=CONV[1])
    (use,) = uses(with_arrays(model, w=shape, b=(8,)))["w"]
    assert use.bias is not None
    assert use.bias.inside
    assert use.attributes["pads"] == (0, 0, 0, 0)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4)])
@pytest.mark.parametrize("text", ["Add (h, b)", "Add (b, h)"])
def test_bias_behind_a_matmul(text: str, shape: tuple[int, ...], uses: Uses) -> None:
    model = parsed(f"{{ h = MatMul (x, w) y = {text} }}", inputs="float[n, 3, 8] x", outputs="float[n, 3, 4] y")
    (use,) = uses(with_arrays(model, w=(8, 4), b=shape))["w"]
    assert use.bias is not None
    assert (use.bias.shape, use.bias.inside, use.output) == (shape, False, "h")
    assert use.joined is None


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("{ y = Gemm <beta = 0.5> (x, w, b) }", {"b": (4,)}),
        ("{ y = Gemm (x, w, b) }", {"b": ()}),
        ("{ y = Gemm (x, w, b) }", {"b": (1,)}),
        ("{ t = Transpose (b) y = Gemm (x, w, t) }", {"b": (1, 4)}),  # a number a row, not a column
        ("{ y = Gemm (x, w) }", {}),
        ("{ g = Gemm (x, w, b) y = Add (g, b) }", {"b": (4,)}),
        ("{ t = Neg (b) g = Gemm (x, w, b) y = Add (g, t) }", {"b": (4,)}),
        ("{ t = Neg (b) y = Gemm (x, w, t) }", {"b": (4,)}),
        ("{ h = MatMul (x, w) y = Add (h, b) }", {"b": (1,)}),
        ("{ h = MatMul (x, w) y = Sub (h, b) }", {"b": (4,)}),
        ("{ h = MatMul (x, w) s = Add (h, b) y = Add (s, h) }", {"b": (4,)}),
    ],
)
def test_what_is_no_bias(body: str, shapes: dict[str, tuple[int, ...]], uses: Uses) -> None:
    inputs = "float[4, 8] x" if "Transpose" in body else "float[n, 8] x"
    (use,) = uses(with_arrays(parsed(body, inputs=inputs), w=(8, 4), **shapes))["w"]
    assert use.bias is None


def test_a_vector_is_no_bias_of_stacked_matrices(uses: Uses) -> None:
    """One number for the columns of all of them: a refit would need one for each."""
    model = parsed("{ h = MatMul (x, w) y = Add (h, b) }", inputs="float[2, n, 8] x", outputs="float[2, n, 4] y")
    (use,) = uses(with_arrays(model, w=(2, 8, 4), b=(4,)))["w"]
    assert use.bias is None
    model = parsed("{ h = MatMul (x, w) y = Add (h, b) }", inputs="float[1, n, 8] x", outputs="float[1, n, 4] y")
    (use,) = uses(with_arrays(model, w=(1, 8, 4), b=(4,)))["w"]
    assert use.bias is not None


def test_a_vector_is_no_bias_of_a_weight_on_the_left(uses: Uses) -> None:
    model = parsed("{ h = MatMul (w, x) y = Add (h, b) }", inputs="float[8, 4] x", outputs="float[4, 4] y")
    (use,) = uses(with_arrays(model, w=(4, 8), b=(4,)))["w"]
    assert (use.data, use.weight_input, use.bias) == ("x", 0, None)
    model = parsed("{ y = Gemm (w, x, b) }", inputs="float[8, 4] x", outputs="float[4, 4] y")
    (use,) = uses(with_arrays(model, w=(4, 8), b=(4,)))["w"]
    assert (use.data, use.weight_input, use.bias) == ("x", 0, None)


def test_a_bias_that_others_see_is_left_alone(uses: Uses) -> None:
    body = "{ y = Gemm (x, w, b) }"
    output = with_arrays(parsed(body, outputs="float[n, 4] y, float[4] b"), w=(8, 4), b=(4,))
    assert uses(output)["w"][0].bias is None
    overridable = with_arrays(parsed(body, inputs="float[n, 8] x, float[4] b"), w=(8, 4), b=(4,))
    assert uses(overridable)["w"][0].bias is None
    given = parsed(body, inputs="float[n, 8] x, float[4] b")
    assert uses(with_arrays(given, w=(8, 4)))["w"][0].bias is None
    two = with_arrays(parsed("{ h = Gemm (x, w, b) y = Gemm (h, v, b) }"), w=(8, 4), v=(4, 4), b=(4,))
    assert [uses(two)[name][0].bias for name in "wv"] == [None, None]


def test_a_bias_in_a_constant_node_and_behind_identity_is_found(uses: Uses) -> None:
    model = parsed("{ b = Constant <value = float[4] {1, 2, 3, 4}> () i = Identity (b) y = Gemm (x, w, i) }")
    (use,) = uses(with_arrays(model, w=(8, 4)))["w"]
    assert use.bias is not None
    assert use.bias.key == WeightKey("b")


@pytest.mark.parametrize(("offset", "found"), [(4, False), (16, True)])
def test_a_bias_that_shares_its_bytes_is_left_alone(offset: int, found: bool, tmp_path: Path, uses: Uses) -> None:
    model = with_arrays(parsed("{ h = Gemm (x, w, b) y = Gemm (h, v, c) }"), w=(8, 4), v=(4, 4))
    (tmp_path / "data.bin").write_bytes(np.ones(12, np.float32).tobytes())
    for name, begin in {"b": 0, "c": offset}.items():
        tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "data.bin", "offset": str(begin), "length": "16"}.items():
            tensor.external_data.add(key=key, value=value)
    described = uses(model, check=False)
    assert [described[name][0].bias is not None for name in "wv"] == [found, found]


BLOCK = "float[n, 8] x", "float[n, 8] y"


@pytest.mark.parametrize(
    ("body", "joined"),
    [
        ("{ h = Gemm (x, w, b) y = Add (h, x) }", "x"),
        ("{ h = Gemm (x, w, b) y = Add (x, h) }", "x"),
        ("{ h = Gemm (x, w) t = Tanh (x) y = Add (h, t) }", "t"),
        ("{ h = MatMul (x, w) s = Add (h, b) y = Add (s, x) }", "x"),
        ("{ h = MatMul (x, w) y = Add (h, x) }", "x"),
        ("{ h = Gemm (x, w, b) y = Add (h, h) }", None),
        ("{ h = Gemm (x, w, b) y = Add (h, k) }", None),  # constant
        ("{ h = Gemm (x, w, b) y = Sub (h, x) }", None),
        ("{ h = Gemm (x, w, b) t = Tanh (h) s = Add (h, x) y = Add (s, t) }", None),
        ("{ h = MatMul (x, w) s = Add (h, b) t = Tanh (s) r = Add (s, x) y = Add (r, t) }", None),
    ],
)
def test_what_is_joined(body: str, joined: str | None, uses: Uses) -> None:
    arrays = {name: shape for name, shape in {"b": (8,), "k": (1, 8)}.items() if f"{name})" in body}
    model = parsed(body, inputs=BLOCK[0], outputs=BLOCK[1])
    (use,) = uses(with_arrays(model, w=(8, 8), **arrays))["w"]
    assert use.joined == joined


@pytest.mark.parametrize(
    ("read", "joined"),
    [
        ("d = DequantizeLinear (q, s, z) y = Add (d, x)", "x"),
        ("d = DequantizeLinear (q, s, z) y = Add (x, d)", "x"),
        ("d = DequantizeLinear (q, s, z) t = Tanh (d) e = Add (d, x) y = Add (e, t)", None),
        ("d = DequantizeLinear (q, s, z) t = Tanh (h) e = Add (d, x) y = Add (e, t)", None),
        ("d = DequantizeLinear (q, s, z) r = DequantizeLinear (q, s, z) e = Add (d, x) y = Add (e, r)", None),
        ("d = Cast <to = 1> (q) y = Add (d, x)", None),
    ],
)
def test_what_is_joined_behind_quantisation(read: str, joined: str | None, uses: Uses) -> None:
    start = "s = Constant <value = float {0.5}> () z = Constant <value = int8 {3}> ()"
    body = f"{{ {start} h = Gemm (x, w, b) q = QuantizeLinear (h, s, z) {read} }}"
    model = parsed(body, inputs=BLOCK[0], outputs=BLOCK[1])
    (use,) = uses(with_arrays(model, w=(8, 8), b=(8,)))["w"]
    assert use.joined == joined


def test_an_output_of_the_model_is_joined_to_nothing(uses: Uses) -> None:
    model = parsed("{ h = Gemm (x, w) y = Add (h, x) }", inputs=BLOCK[0], outputs="float[n, 8] y, float[n, 8] h")
    (use,) = uses(with_arrays(model, w=(8, 8)))["w"]
    assert (use.joined, use.clipped) == (None, None)


@pytest.mark.parametrize(
    ("body", "opset", "bounds"),
    [
        ("{ h = Gemm (x, w, b) y = Relu (h) }", 17, (0, math.inf)),
        ("{ h = MatMul (x, w) s = Add (h, b) y = Relu (s) }", 17, (0, math.inf)),
        ("{ h = Gemm (x, w, b) s = Add (h, x) y = Relu (s) }", 17, (0, math.inf)),
        ("{ h = MatMul (x, w) s = Add (h, b) r = Add (s, x) y = Relu (r) }", 17, (0, math.inf)),
        ("{ h = Gemm (x, w, b) p = Relu (h) q = Relu (h) y = Add (p, q) }", 17, (0, math.inf)),
        ("{ h = Gemm (x, w, b) y = Clip <min = 0.0, max = 6.0> (h) }", 10, (0, 6)),
        ("{ h = Gemm (x, w, b) y = Clip <max = 6.0> (h) }", 10, (-math.inf, 6)),
        ("{ h = Gemm (x, w, b) y = Clip (h, lo, hi) }", 17, (-1, 6)),
        ("{ h = Gemm (x, w, b) y = Clip (h, lo) }", 17, (-1, math.inf)),
        ("{ h = Gemm (x, w, b) y = Clip (h, , hi) }", 17, (-math.inf, 6)),
        ("{ z = Constant <value = float {6}> () h = Gemm (x, w, b) y = Clip (h, lo, z) }", 17, (-1, 6)),
        ("{ h = Gemm (x, w, b) p = Relu (h) q = Clip (h, lo) y = Add (p, q) }", 17, None),
        ("{ h = Gemm (x, w, b) p = Relu (h) y = Add (p, h) }", 17, None),
        ("{ h = Gemm (x, w, b) m = ReduceMin <keepdims = 0> (x) y = Clip (h, m, hi) }", 17, None),
        ("{ h = Gemm (x, w, b) y = Elu (h) }", 17, None),
    ],
)
def test_what_clips(body: str, opset: int, bounds: tuple[float, float] | None, uses: Uses) -> None:
    model = parsed(body, inputs=BLOCK[0], outputs=BLOCK[1], opset=opset)
    arrays = {"b": (8,)} if "b)" in body else {}
    for name, value in {"lo": -1.0, "hi": 6.0}.items():
        if f"{name})" in body or f"{name}," in body:
            model.graph.initializer.append(numpy_helper.from_array(np.float32(value).reshape(()), name))
    (use,) = uses(with_arrays(model, w=(8, 8), **arrays))["w"]
    assert use.clipped == bounds


def test_a_bound_that_a_caller_may_give_is_none(uses: Uses) -> None:
    body = "{ h = Gemm (x, w) y = Clip (h, lo) }"
    model = parsed(body, inputs="float[n, 8] x, float lo", outputs=BLOCK[1])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0).reshape(()), "lo"))
    (use,) = uses(with_arrays(model, w=(8, 8)))["w"]
    assert use.clipped is None


def test_an_output_of_the_model_is_not_clipped(uses: Uses) -> None:
    model = parsed("{ h = Gemm (x, w) y = Relu (h) }", inputs=BLOCK[0], outputs="float[n, 8] y, float[n, 8] h")
    (use,) = uses(with_arrays(model, w=(8, 8)))["w"]
    assert use.clipped is None


def branch(text: str) -> onnx.GraphProto:
    return onnx.parser.parse_graph(text)


def with_if(before: str, then: str, weights: dict[str, tuple[int, ...]]) -> ModelProto:
    """`before`, and then an If on the input c, whose branches read names from around them."""
    model = parsed(f"{{ {before} y = Identity (x) }}", inputs="bool c, float[n, 8] x", outputs=BLOCK[1])
    del model.graph.node[-1]
    other = "none () => (float[n, 8] o) { o = Identity (x) }"
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch(then), else_branch=branch(other)))
    return with_arrays(model, **weights)


def test_a_weight_that_a_subgraph_reads_is_left_out(uses: Uses) -> None:
    model = with_if("", "some () => (float[n, 8] o) { o = MatMul (x, w) }", {"w": (8, 8)})
    assert uses(model, check=False) == {}
    shared = with_if("h = MatMul (x, w)", "some () => (float[n, 8] o) { o = MatMul (h, w) }", {"w": (8, 8)})
    assert uses(shared, check=False) == {}


def test_readers_in_subgraphs_count(uses: Uses) -> None:
    """An Add or a Relu is not the only reader where a branch reads the output as well."""
    weights = {"w": (8, 8), "b": (8,)}
    joined = with_if("h = Gemm (x, w, b) s = Add (h, x)", "t () => (float[n, 8] o) { o = Add (h, s) }", weights)
    assert uses(joined, check=False)["w"][0].joined is None
    clipped = with_if("h = Gemm (x, w, b) r = Relu (h)", "t () => (float[n, 8] o) { o = Add (h, r) }", weights)
    assert uses(clipped, check=False)["w"][0].clipped is None
    bias = with_if("h = Gemm (x, w, b)", "t () => (float[n, 8] o) { o = Add (h, b) }", weights)
    assert uses(bias, check=False)["w"][0].bias is None


def test_a_weight_that_a_function_reads_is_left_out(uses: Uses) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[n, 8] x) => (float[n, 4] y) { h = MatMul (x, v) y = local.f (h, w) }
        <domain: "local", opset_import: ["" : 17]> f (a, b) => (c) { c = MatMul (a, b) }"""
    )
    assert uses(with_arrays(model, w=(8, 4), v=(8, 8))).keys() == {"v"}


def test_a_weight_that_no_input_reaches_is_left_out(uses: Uses) -> None:
    body = "{ s = Shape (k) z = ConstantOfShape (s) h = Conv (z, w) r = ReduceMean <axes = [2], keepdims = 0> (h)"
    model = parsed(f"{body} y = Add (x, r) }}", inputs=BLOCK[0], outputs=BLOCK[1])
    assert uses(with_arrays(model, w=(8, 8, 1), k=(1, 8, 5))) == {}


def test_a_shared_weight_has_all_its_uses_in_order(uses: Uses) -> None:
    model = parsed("{ t = Transpose (w) a = MatMul (x, w) y = Gemm (a, t) }", inputs=BLOCK[0], outputs=BLOCK[1])
    assert uses(with_arrays(model, w=(8, 8))) == {}  # the two sum over different axes: no site
    model = parsed("{ t = Transpose (w) a = MatMul (x, w) y = Gemm <transB = 1> (a, t) }", inputs=BLOCK[0])
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    first, second = uses(with_arrays(model, w=(8, 8)))["w"]
    assert (first.op, first.axes, second.op, second.axes) == ("MatMul", (0, 1), "Gemm", (1, 0))
    assert (first.index, second.index) == (1, 2)


def test_what_a_node_captures() -> None:
    inner = helper.make_node(
        "If",
        ["p"],
        ["o"],
        then_branch=branch("t () => (float o) <float k = {1}> { m = Add (a, k) o = Add (m, b) }"),
        else_branch=branch("e () => (float z) { q = Neg (a) }"),
    )
    assert captured(inner) == {"a", "b", "z"}
    outer = onnx.GraphProto(name="outer", node=[inner])
    outer.input.add(name="a")
    outer.output.add(name="o")
    assert captured(helper.make_node("Loop", ["n"], ["y"], body=outer)) == {"p", "b", "z"}


def test_every_site_of_the_samples_is_used(samples: Path) -> None:
    for path in sorted(samples.glob("*.onnx")):
        file = read_model(path)
        inventory = take_inventory(file, SchemePool.fixed_m(4), infer_shapes(file.proto, {}))
        found = linear_uses(file, inventory)
        assert found.keys() == {site.key for site in inventory.sites}
        for site in inventory.sites:
            assert len(found[site.key]) == len(site.consumers)


LISTED = ["float[n, 8] x", "float[8, 4] w", "float[4] b", "float lowest", "float highest"]


@pytest.mark.parametrize(("version", "is_fixed"), [(3, True), (4, False)])
def test_constants_among_the_inputs_are_fixed_up_to_ir_version_3(version: int, is_fixed: bool, uses: Uses) -> None:
    """Up to version 3 every stored tensor is listed there; from 4 on a caller may replace those that are."""
    model = parsed("{ a = Gemm (x, w, b) y = Clip (a, lowest, highest) }", opset=12, inputs=", ".join(LISTED))
    model.ir_version = version
    with_arrays(model, w=(8, 4), b=(4,))
    for name, bound in (("lowest", 0), ("highest", 6)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(bound), name))
    (use,) = uses(model)["w"]
    assert (use.bias is not None) == is_fixed
    assert use.clipped == ((0, 6) if is_fixed else None)

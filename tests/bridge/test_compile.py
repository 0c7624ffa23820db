"""Graphs as files have them: unsorted, nested, with functions, or wrong."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from domino_onnx.bridge import build, missing_operators
from domino_onnx.errors import ModelError, UnsupportedOperatorError
from domino_onnx.scheme.key import WeightKey


def parse(text: str, functions: str = "") -> onnx.ModelProto:
    header = '<ir_version: 10, opset_import: ["" : 17, "local" : 1]>'
    return onnx.parser.parse_model(f"{header} {text} {functions}")


def test_nodes_may_stand_in_any_order() -> None:
    model = parse("g (float[2] x) => (float[2] y) { a = Relu(x)  b = Neg(a)  y = Exp(b) }")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    y = build(model)({"x": torch.tensor([1.0, -1.0])})["y"]
    torch.testing.assert_close(y, torch.tensor([np.exp(-1.0), 1.0], dtype=torch.float32))


def test_a_cycle_names_node_and_tensor() -> None:
    model = parse("g (float[2] x) => (float[2] y) { a = Add(x, b)  b = Relu(a)  y = Exp(b) }")
    with pytest.raises(ModelError, match=r"cycle: node 'a' \(Add\) reads 'b'"):
        build(model)


def test_an_undefined_tensor_is_named_with_its_reader() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Add(x, nowhere) }")
    with pytest.raises(ModelError, match=r"node 'y' \(Add\) reads 'nowhere'"):
        build(model)


def test_an_output_that_nothing_makes_is_named() -> None:
    model = parse("g (float[2] x) => (float[2] nowhere) { y = Relu(x) }")
    with pytest.raises(ModelError, match="graph output reads 'nowhere'"):
        build(model)


def test_a_tensor_with_two_producers_is_refused() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Relu(x)  y = Exp(x) }")
    with pytest.raises(ModelError, match="makes 'y', which another node makes already"):
        build(model)


def test_missing_operators_are_reported_all_at_once() -> None:
    model = parse(
        """g (float[2] x, bool c) => (float[2] y)
        { a = Nonesuch(x)  b = local.twice(a)
          y = If (c) <then_branch = t () => (float[2] p) { p = Otherwise(b) },
                      else_branch = e () => (float[2] q) { q = Relu(b) }> }""",
        '<domain: "local", opset_import: ["" : 17, "odd" : 3]> twice (x) => (y) { y = odd.Thing(x) }',
    )
    expected = ("Nonesuch-17", "Otherwise-17", "odd::Thing-3")
    assert missing_operators(model) == expected
    with pytest.raises(UnsupportedOperatorError) as caught:
        build(model)
    assert caught.value.operators == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y, i = MaxPool<kernel_shape = [2]>(x)", "MaxPool-17 (output 2)"),
        ("y = MaxPool<kernel_shape = [2], storage_order = 1>(x)", "MaxPool-17 (storage_order=1)"),
        ("y = Relu<slope = 1.0>(x)", "Relu-17 (attribute slope)"),
    ],
)
def test_parts_of_operators_are_missing_too(text: str, expected: str) -> None:
    model = parse(f"g (float[1, 1, 4] x) => (float[1, 1, n] y) {{ {text} }}")
    assert missing_operators(model) == (expected,)


def test_a_version_before_the_first_known_one_is_missing() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Add(x, x) }")
    model.opset_import[0].version = 6
    assert missing_operators(model) == ("Add-6",)


def test_uncalled_functions_may_hold_anything() -> None:
    model = parse(
        "g (float[2] x) => (float[2] y) { y = Relu(x) }",
        '<domain: "local", opset_import: ["" : 17]> unused (x) => (y) { y = Nonesuch(x) }',
    )
    assert missing_operators(model) == ()


BRANCHES = """g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}>
    { outer = Mul(x, w)
      y = If (c) <
        then_branch = t () => (float[2] p) <float[2] w2 = {10, 20}> { p = Add(outer, w2) },
        else_branch = e () => (float[2] q) <float[2] w2 = {30, 40}> { q = Sub(outer, w2) }> }"""


@pytest.mark.parametrize("condition", [True, False])
def test_branches_capture_outer_values(parity, condition: bool) -> None:
    inputs = {"x": np.array([3, 4], np.float32), "c": np.array(condition)}
    assert parity(parse(BRANCHES), inputs).ok


def test_one_name_in_two_scopes_is_two_weights() -> None:
    module = build(parse(BRANCHES))
    assert set(module.weights) == {
        WeightKey("w"),
        WeightKey("w2", ("1.then_branch",)),
        WeightKey("w2", ("1.else_branch",)),
    }
    assert module.weights[WeightKey("w2", ("1.else_branch",))].tolist() == [30, 40]


def test_branches_in_branches_capture_through_both(parity) -> None:
    model = parse("""g (float[2] x, bool c) => (float[2] y)
    { a = Neg(x)
      y = If (c) <
        then_branch = t () => (float[2] p) { b = Exp(a)  p = If (c) <
            then_branch = tt () => (float[2] r) { r = Add(a, b) },
            else_branch = te () => (float[2] s) { s = Identity(b) }> },
        else_branch = e () => (float[2] q) { q = Identity(x) }> }""")
    for condition in (True, False):
        assert parity(model, {"x": np.array([3, 4], np.float32), "c": np.array(condition)}).ok


FUNCTION = """<domain: "local", opset_import: ["" : 17]> scale <alpha: float = 2.0, axis> (x, bias) => (y)
    { c = Constant<value = float[1] {3}>()  a = Constant<value_float: float = @alpha>()
      m = Mul(x, c)  n = Mul(m, a)  s = Softmax<axis: int = @axis>(n)  y = Add(s, bias) }"""


def test_functions_are_inlined_with_their_attributes(parity) -> None:
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) <float[3] b = {1, 2, 3}>
        { h = local.scale<axis = 0, alpha = 0.5>(x, b)  y = local.scale<axis = 1>(h, b) }""",
        FUNCTION,
    )
    assert parity(model, {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}).ok
    function_scope = ("function local:scale:",)
    assert set(build(model).weights) == {WeightKey("b"), WeightKey("c", function_scope)}


def test_functions_that_call_themselves_are_refused() -> None:
    model = parse(
        "g (float[2] x) => (float[2] y) { y = local.a(x) }",
        """<domain: "local", opset_import: ["" : 17, "local" : 1]> a (x) => (y) { y = local.b(x) }
        <domain: "local", opset_import: ["" : 17, "local" : 1]> b (x) => (y) { y = local.a(x) }""",
    )
    with pytest.raises(ModelError, match="calls itself"):
        build(model)


def test_a_bomb_of_functions_is_refused_at_once() -> None:
    bodies = "".join(
        f'<domain: "local", opset_import: ["" : 17, "local" : 1]> f{i} (x) => (y)'
        f"{{ a = local.f{i + 1}(x)  y = local.f{i + 1}(a) }}\n"
        for i in range(60)
    )
    last = '<domain: "local", opset_import: ["" : 17]> f60 (x) => (y) { y = Relu(x) }'
    start = time.perf_counter()
    with pytest.raises(ModelError, match="the limit is 1000000"):
        build(parse("g (float[2] x) => (float[2] y) { y = local.f0(x) }", bodies + last))
    assert time.perf_counter() - start < 5


def test_a_deep_chain_is_no_recursion() -> None:
    count = 20_000
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(count)]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("t0", f"t{count}")]
    graph = helper.make_graph(nodes[::-1], "chain", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    start = time.perf_counter()
    module = build(model)
    assert module({"t0": torch.ones(1)})[f"t{count}"].item() == 1
    assert time.perf_counter() - start < 10


def test_absent_optional_inputs_are_none(parity) -> None:
    model = parse("""g (float[3] x) => (float[3] y) <float high = {2}> { y = Clip(x, , high) }""")
    assert parity(model, {"x": np.array([-5, 1, 5], np.float32)}).ok


def test_strings_have_no_counterpart() -> None:
    model = parse("g (float[1] x) => (float[1] y) { y = Relu(x) }")
    model.graph.initializer.append(helper.make_tensor("label", TensorProto.STRING, [1], [b"cat"]))
    with pytest.raises(ModelError, match="'label'"):
        build(model)


def test_an_operator_that_fails_is_named_with_its_shapes() -> None:
    module = build(parse("g (float[n] x) => (float[n] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }"))
    with pytest.raises(ModelError, match=r"node 'y' \(Add\).*float32\[2\].*float32\[3\]"):
        module({"x": torch.zeros(2)})

"""Weights of subgraphs and of local functions are found under their scope."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from domino_onnx.errors import BudgetError
from domino_onnx.scheme import Budget, WeightKey

from .test_inventory import Make, Take, node, values


def scoped_model(make_model: Make) -> onnx.ModelProto:
    """The name `w` stands for three tensors: in the graph and in each branch."""

    def branch(name: str, columns: int) -> onnx.GraphProto:
        return helper.make_graph(
            [
                node("MatMul", ["x", f"{name}w"], [f"{name}o"], name="inner"),
                node("ReduceSum", [f"{name}o"], [f"{name}s"]),
            ],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}s", 1, None)],
            [numpy_helper.from_array(values(16, columns), f"{name}w")],
        )

    nodes = [
        node("MatMul", ["x", "w"], ["z"], name="outer"),
        node("If", ["c"], ["s"], then_branch=branch("t", 4), else_branch=branch("e", 8), name="if"),
        node("Add", ["z", "s"], ["y"]),
    ]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {"w": values(16, 2)})
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return model


def test_subgraph_weights_are_sites_under_their_scope(make_model: Make, inventory: Take) -> None:
    found = inventory(scoped_model(make_model), shapes={"x": (1, 16)})
    by_key = {site.key: site for site in found.sites}
    assert set(by_key) == {WeightKey("w"), WeightKey("tw", ("1.then_branch",)), WeightKey("ew", ("1.else_branch",))}
    assert {key.name: found.nested for key, found in by_key.items()} == {"w": False, "tw": True, "ew": True}
    assert by_key[WeightKey("ew", ("1.else_branch",))].params == 128
    assert by_key[WeightKey("ew", ("1.else_branch",))].macs == 128
    assert all("inner" in site.name for key, site in by_key.items() if key.scope)


def test_the_same_name_in_two_branches_is_two_weights(make_model: Make, inventory: Take) -> None:
    model = scoped_model(make_model)
    for attribute in model.graph.node[1].attribute:
        attribute.g.initializer[0].name = "same"
        attribute.g.node[0].input[1] = "same"
    found = inventory(model, check=False)
    assert {site.key for site in found.sites if site.key.scope} == {
        WeightKey("same", ("1.then_branch",)),
        WeightKey("same", ("1.else_branch",)),
    }


def test_a_subgraph_reading_an_outer_weight_shares_it(make_model: Make, inventory: Take) -> None:
    branch = helper.make_graph(
        [node("MatMul", ["x", "w"], ["o"], name="inner")], "t", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    other = helper.make_graph([node("Identity", ["z"], ["p"])], "e", [], [helper.make_tensor_value_info("p", 1, None)])
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("If", ["c"], ["y"], then_branch=branch, else_branch=other)]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {"w": values(16, 2)})
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    (site,) = inventory(model).sites
    assert len(site.consumers) == 2


FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (float[1,16] x) => (float[1,16] y)
<float[16,16] w1, float[16,16] w2>
{
  a = local.Linear(x, w1)
  y = local.Linear(a, w2)
}
<domain: "local", opset_import: ["" : 17]>
Linear (v, k) => (r)
{
  r = MatMul(v, k)
}
"""


def test_weights_passed_to_local_functions_are_found(inventory: Take) -> None:
    model = parser.parse_model(FUNCTION)
    for name in ("w1", "w2"):
        tensor = next((t for t in model.graph.initializer if t.name == name), None)
        if tensor is not None:
            model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(values(16, 16), name))
    found = inventory(model, check=False)
    assert {site.key for site in found.sites} == {WeightKey("w1"), WeightKey("w2")}
    assert all(site.layout.axis == 0 for site in found.sites)


def test_a_constant_inside_a_function_that_is_called_twice_is_one_weight(make_model: Make, inventory: Take) -> None:
    constant = node("Constant", [], ["k"], value=numpy_helper.from_array(values(16, 16), ""))
    function = helper.make_function(
        "local", "Block", ["v"], ["r"], [constant, node("MatMul", ["v", "k"], ["r"])], [helper.make_opsetid("", 17)]
    )
    nodes = [node("Block", ["x"], ["a"], domain="local"), node("Block", ["a"], ["y"], domain="local")]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {}, domains={"local": 1})
    model.functions.append(function)
    found = inventory(model)
    (site,) = found.sites
    assert site.key.name == "k"
    assert len(site.consumers) == 2
    assert found.params == 256


@pytest.mark.parametrize("is_passed", [True, False])
def test_macs_inside_a_function_are_unknown_because_of_it(is_passed: bool, make_model: Make, inventory: Take) -> None:
    """Whatever shapes are given: the advice is to inline, not to give more of them."""
    constant = [] if is_passed else [node("Constant", [], ["k"], value=numpy_helper.from_array(values(16, 16), ""))]
    body = [*constant, node("MatMul", ["v", "k"], ["r"])]
    function = helper.make_function(
        "local", "Block", ["v", "k"] if is_passed else ["v"], ["r"], body, [helper.make_opsetid("", 17)]
    )
    call = node("Block", ["x", "w"] if is_passed else ["x"], ["y"], domain="local")
    arrays = {"w": values(16, 16)} if is_passed else {}
    model = make_model([call], {"x": (1, 16)}, {"y": (1, 16)}, arrays, domains={"local": 1})
    model.functions.append(function)
    found = inventory(model, shapes={})
    assert found.macs is None
    with pytest.raises(BudgetError, match="inline them") as error:
        Budget(measure="flops", reduction=0.3).total(found)
    assert "--data" not in str(error.value)


def test_macs_behind_an_unknown_operator_want_shapes(make_model: Make, inventory: Take) -> None:
    nodes = [node("Unknown", ["x"], ["a"], domain="other"), node("MatMul", ["a", "w"], ["y"])]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {"w": values(16, 16)}, domains={"other": 1})
    with pytest.raises(BudgetError, match="Give --data"):
        Budget(measure="flops", reduction=0.3).total(inventory(model, shapes={}, check=False))


def test_a_function_that_a_loop_calls_is_nested(make_model: Make, inventory: Take) -> None:
    constant = node("Constant", [], ["k"], value=numpy_helper.from_array(values(16, 16), ""))
    function = helper.make_function(
        "local", "Block", ["v"], ["r"], [constant, node("MatMul", ["v", "k"], ["r"])], [helper.make_opsetid("", 17)]
    )
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Block", ["s"], ["t"], domain="local"), node("Identity", ["c"], ["d"])],
        "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("s", 1, [1, 16])],
        [info("d", TensorProto.BOOL, []), info("t", 1, [1, 16])],
    )
    loop, call = node("Loop", ["n", "", "x"], ["y"], body=body), node("Block", ["x"], ["y"], domain="local")
    for outer, nested in ((loop, True), (call, False)):
        model = make_model([outer], {"x": (1, 16)}, {"y": None}, {"n": np.array(3)}, domains={"local": 1})
        model.functions.append(function)
        (site,) = inventory(model).sites
        assert site.nested == nested

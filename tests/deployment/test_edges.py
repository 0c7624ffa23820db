"""What a hostile or an unusual model holds: nothing, infinities, and readers in subgraphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from domino_onnx.deployment import with_activations

from .quantizing import told
from .test_rewrite import deployed, normal, ops, same, sparse

Run = Callable[..., Any]
Make = Callable[..., ModelProto]
node = helper.make_node


@pytest.mark.parametrize("shape", [(4, 0), (0, 4)])
def test_weights_without_values(make_model: Make, shape: tuple[int, int]) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": (3, shape[0])}, {"y": None}, {"w": np.zeros(shape, np.float32)}
    )
    _, layers, kept = deployed(model, {})
    assert not layers
    assert [each.reason for each in kept] == ["its weight is empty"]


def test_biases_without_a_name(make_model: Make) -> None:
    model = make_model(
        [node("Gemm", ["x", "w", ""], ["a"]), node("Conv", ["z", "v", ""], ["y"])],
        {"x": (3, 64), "z": (1, 32, 3, 3)},
        {"a": None, "y": None},
        {"w": sparse((64, 32), 0), "v": sparse((32, 32, 1, 1), 1)},
    )
    changed, _, kept = deployed(model, {})
    assert not kept
    assert ops(changed) == ["NmMatMul", "NmConv"]
    same(model, changed, {"x": normal(3, 64), "z": normal(1, 32, 3, 3)})


def _chosen(then: list[Any], make_model: Make, first: Any, arrays: dict[str, np.ndarray]) -> ModelProto:
    """A model that makes `a`, which one branch of an If alone reads."""
    named = (("t", then), ("e", [node("Identity", ["x"], ["e"])]))
    branches = [
        helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
        for name, nodes in named
    ]
    return make_model(
        [
            first,
            node("ReduceMax", ["x"], ["top"], keepdims=0),
            node("Greater", ["top", "limit"], ["above"]),
            node("If", ["above"], ["y"], then_branch=branches[0], else_branch=branches[1]),
        ],
        {"x": (2, 32, 5, 5)},
        {"y": None},
        {**arrays, "limit": np.array(0, np.float32)},
    )


@pytest.mark.parametrize(
    "then",
    [
        [node("Relu", ["a"], ["t"])],
        [node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["t"])],
        [node("Mul", ["a", "limit"], ["t"])],
    ],
)
def test_what_a_branch_reads_doesnt_join_a_layer(make_model: Make, then: list[Any]) -> None:
    model = _chosen(then, make_model, node("Conv", ["x", "w"], ["a"]), {"w": sparse((32, 32, 1, 1), 1)})
    changed, _, _ = deployed(model, {"a": (2, 32, 5, 5)})
    assert ops(changed) == ["NmConv", "ReduceMax", "Greater", "If"]
    x = {"x": normal(2, 32, 5, 5)}
    assert np.abs(told(model, x)["y"] - told(changed, x)["y"]).max() < 1e-4


def test_an_activation_in_a_branch_stays(make_model: Make) -> None:
    then = [node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["t"])]
    model = _chosen(then, make_model, node("Exp", ["x"], ["a"]), {})
    changed, count = with_activations(model, {"x": (2, 32, 5, 5), "a": (2, 32, 5, 5)})
    assert (count, changed) == (0, model)

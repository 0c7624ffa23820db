"""What a hostile or an unusual model holds: nothing, infinities, and readers in subgraphs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from domino_onnx.deployment import Grid, InputMeans, find_layers, open_graph, seen_ranges, with_activations
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions, DataOptions, RunOptions
from domino_onnx.stages.deploying import choice as deploy_choice
from domino_onnx.stages.deploying.accuracy import ByteJudge, byte_judge
from domino_onnx.stages.deploying.bench import difference

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


@pytest.mark.parametrize(("values", "wanted"), [
    ([], Grid.of(0, 0)),
    ([np.nan, -np.inf, np.inf], Grid.of(0, 0)),
    ([-1, np.inf, 3, np.nan], Grid.of(-1, 3)),
])  # fmt: skip
def test_grids_hold_the_finite_values(values: list[float], wanted: Grid) -> None:
    seen = np.array(values, np.float32)
    ranges = seen_ranges(lambda _: {"a": seen}, [{}], ["a"])
    assert Grid.of(*ranges["a"][0]) == wanted


def test_inputs_that_are_not_finite_correct_no_bias(make_model: Make) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (3, 64)}, {"y": None}, {"w": sparse((64, 32), 0)})
    layers, _ = find_layers(open_graph(model), {})
    means = InputMeans(layers)
    means.add({"x": np.full((3, 64), -np.inf, np.float32)})
    assert means.layers()[0].mean is None


@pytest.mark.parametrize(("wanted", "found", "error"), [
    ([1, 2], [1, 1], 0.5),
    ([1, -np.inf, np.nan], [2, -np.inf, np.nan], 1.0),
    ([1, 2], [np.nan, 2], math.inf),
    ([np.inf, 2], [-np.inf, 2], math.inf),
    ([0, 0], [0, 0], 0.0),
    ([], [], None),
    ([np.nan, np.inf], [np.nan, np.inf], None),
])  # fmt: skip
def test_a_nan_is_no_small_error(wanted: list[float], found: list[float], error: float | None) -> None:
    both = ({"y": np.array(each, np.float32)} for each in (wanted, found))
    assert difference(*both) == error


def test_a_deployed_model_that_differs_by_infinities_is_told(
    domino: Run, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 times infinity is NaN to ONNX Runtime, and nothing to an operator that skips zeros."""
    monkeypatch.setattr(deploy_choice, "_best", lambda choices, *_, **__: len(choices) - 1)
    model = make_model(
        [node("Log", ["z"], ["l"]), node("Add", ["x", "l"], ["a"]), node("Conv", ["a", "w"], ["y"])],
        {"x": (1, 32, 3, 3)},
        {"y": None},
        {"z": np.zeros((1, 32, 1, 1), np.float32), "w": sparse((32, 32, 1, 1), 1)},
    )
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(model.SerializeToString())
    ran = domino("deploy", path, "-o", out, "--threads", "1", "--precision", "float32", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["layers"][0]["chosen"] == "float32"
    assert any("NaN or infinite" in warning for warning in said["warnings"])


def test_a_product_of_two_stored_tensors_is_told(domino: Run, make_model: Make, tmp_path: Path) -> None:
    model = make_model(
        [node("MatMul", ["k", "w"], ["a"]), node("Add", ["x", "a"], ["y"])],
        {"x": (3, 32)},
        {"y": None},
        {"k": normal(3, 64), "w": sparse((64, 32), 0)},
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    said = json.loads(domino("deploy", path, "-o", tmp_path / "out.onnx", "--threads", "1", "--json").out)
    assert [each["reason"] for each in said["dense"]] == ["its input is stored, or a run shows no float32 values of it"]


def test_samples_are_counted_along_the_axis_that_was_given(make_model: Make, tmp_path: Path) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": ("T", "S", 64)}, {"y": ("T", "S", 64)}, {"w": sparse((64, 64), 0)}
    )
    path, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, x=normal(5, 12, 64))
    layers, _ = find_layers(open_graph(model), {})
    axes: Any = {"x": 1, "y": 1}
    options = CompressOptions(data=DataOptions(calibration=data, batch_axes=axes), run=RunOptions(threads=1))
    judge = byte_judge(read_model(path), model.SerializeToString(), layers, options)
    assert isinstance(judge, ByteJudge)
    assert judge.samples == 6

"""Whatever a stored tensor goes through on its way to a product: it is a site, or listed with a reason and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.scheme import Inventory

Make = Callable[..., onnx.ModelProto]
Take = Callable[..., Inventory]
Array = np.ndarray[Any, np.dtype[Any]]
node = helper.make_node


def values(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def integers(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


SHAPED = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "one"], ["end"])]
WAYS: dict[str, tuple[Sequence[onnx.NodeProto], str]] = {
    "a slice whose end is a length of the data": ([*SHAPED, node("Slice", ["w", "zero", "end"], ["v"])], "Slice"),
    "an expansion to the batch": (
        [*SHAPED, node("Concat", ["end", "wide"], ["to"], axis=0), node("Expand", ["w", "to"], ["v"])],
        "Expand",
    ),
    "a chain longer than any look": (
        [node("Neg", ["w" if not k else f"n{k - 1}"], [f"n{k}" if k < 39 else "v"]) for k in range(40)],
        "Neg",
    ),
    "a branch that the data choose": (
        [
            node("ReduceSum", ["x"], ["sum"], keepdims=0),
            node("Greater", ["sum", "half"], ["more"]),
            node(
                "If",
                ["more"],
                ["v"],
                then_branch=helper.make_graph([node("Identity", ["w"], ["t"])], "t", [], [info("t", 16, 16)]),
                else_branch=helper.make_graph([node("Neg", ["w"], ["e"])], "e", [], [info("e", 16, 16)]),
            ),
        ],
        "If",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_is_counted_whatever_it_goes_through(
    way: str, make_model: Make, inventory: Take, run_ort: Callable[..., list[Any]]
) -> None:
    nodes, through = WAYS[way]
    arrays = {"w": values(16, 16), "one": integers(1), "zero": integers(0), "wide": integers(16)}
    model = make_model(
        [*nodes, node("MatMul", ["x", "v"], ["y"])],
        {"x": (2, 16)},
        {"y": None},
        {**arrays, "half": np.array(0.5, np.float32)},
    )
    found = inventory(model, shapes={}, check=False)
    assert not found.sites
    assert [(weight.key.name, weight.params) for weight in found.counted] == [("w", 256)]
    assert f"through {through}" in found.skips[0].reason
    run_ort(model, {"x": values(2, 16)})  # or the graph shows nothing


def test_all_parts_of_a_joined_weight_are_counted(make_model: Make, inventory: Take) -> None:
    nodes = [node("Concat", ["q", "k", "v"], ["w"], axis=1), node("MatMul", ["x", "w"], ["y"])]
    arrays = {"q": values(16, 16), "k": values(16, 16), "v": values(16, 8)}
    found = inventory(make_model(nodes, {"x": (2, 16)}, {"y": None}, arrays), shapes={})
    assert {weight.key.name: weight.params for weight in found.counted} == {"q": 256, "k": 256, "v": 128}
    assert found.macs is not None
    assert found.macs == 2 * 640


def test_weights_that_a_scan_hands_out_row_by_row_are_counted(
    make_model: Make, inventory: Take, run_ort: Callable[..., list[Any]]
) -> None:
    body = helper.make_graph(
        [node("MatMul", ["h", "row"], ["h_out"], name="layer")],
        "body",
        [info("h", 2, 16), info("row", 16, 16)],
        [info("h_out", 2, 16)],
    )
    model = make_model(
        [node("Scan", ["x", "w"], ["y"], body=body, num_scan_inputs=1)],
        {"x": (2, 16)},
        {"y": (2, 16)},
        {"w": values(5, 16, 16)},
    )
    found = inventory(model)
    assert [(skip.key.name, skip.params, skip.counted) for skip in found.skips] == [("w", 1280, True)]
    run_ort(model, {"x": values(2, 16)})


def test_a_kernel_that_a_style_modulates_is_counted(make_model: Make, inventory: Take) -> None:
    nodes = [node("Mul", ["w", "style"], ["v"]), node("Conv", ["x", "v"], ["y"])]
    model = make_model(nodes, {"x": (1, 8, 5, 5), "style": (1, 8, 1, 1)}, {"y": None}, {"w": values(4, 8, 3, 3)})
    found = inventory(model)
    assert [(skip.key.name, skip.params) for skip in found.counted] == [("w", 288)]
    assert "through Mul" in found.skips[0].reason


def test_rows_of_a_table_and_learned_queries_are_data(make_model: Make, inventory: Take) -> None:
    nodes = [
        node("Gather", ["table", "ids"], ["embedded"]),
        node("MatMul", ["embedded", "w"], ["y"]),
        node("Shape", ["ids"], ["s"]),
        node("Concat", ["s", "tail"], ["to"], axis=0),
        node("Expand", ["queries", "to"], ["q"]),
        node("MatMul", ["q", "w"], ["z"]),
    ]
    arrays = {"table": values(50, 16), "queries": values(1, 16), "tail": integers(16), "w": values(16, 8)}
    model = make_model(nodes, {}, {"y": None, "z": None}, arrays)
    model.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]))
    found = inventory(model)
    assert [site.key.name for site in found.sites] == ["w"]
    assert not found.skips


@pytest.mark.parametrize(
    ("operator", "position", "shape"),
    [("FusedConv", 1, (4, 8, 3, 3)), ("FusedGemm", 1, (16, 8)), ("Attention", 1, (16, 48))],
)
def test_fused_weights_are_counted(
    operator: str, position: int, shape: tuple[int, ...], make_model: Make, inventory: Take
) -> None:
    given = {"num_heads": 2} if operator == "Attention" else {"activation": "Relu"}
    arrays = {"w": values(*shape), "b": values(shape[-1] if len(shape) == 2 else shape[0])}
    x = (1, 8, 5, 5) if operator == "FusedConv" else (3, 16) if operator == "FusedGemm" else (1, 3, 16)
    model = make_model(
        [node(operator, ["x", "w", "b"], ["y"], domain="com.microsoft", **given)],
        {"x": x},
        {"y": ["a"] * len(x)},
        arrays,
        domains={"com.microsoft": 1},
    )
    found = inventory(model)
    assert found.params == np.prod(shape)
    assert "can't be pruned" in found.notes[0]


def test_sparse_tensors_and_listed_floats_behind_others_are_counted(make_model: Make, inventory: Take) -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "w"), numpy_helper.from_array(integers(3, 9)), [64]
    )
    nodes = [
        node("Reshape", ["w", "shape"], ["v"]),
        node("MatMul", ["x", "v"], ["y"]),
        node("Constant", [], ["f"], value_floats=[0.5] * 16),
        node("MatMul", ["x", "f"], ["z"]),
    ]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None, "z": None}, {"shape": integers(16, 4)})
    model.graph.sparse_initializer.append(sparse)
    found = inventory(model, check=False)
    assert {skip.key.name: skip.params for skip in found.counted} == {"w": 64, "f": 16}

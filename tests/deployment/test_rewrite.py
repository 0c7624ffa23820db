"""Every layer that can be deployed gives what it gave, and everything else in the file stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import Grid, Kept, Kind, Layer, find_layers, open_graph, rewritten_graph, seen_ranges
from domino_onnx.pipeline import session

Make = Callable[..., ModelProto]
node = helper.make_node


def sparse(shape: tuple[int, ...], axis: int, seed: int = 0) -> np.ndarray:
    """Float32 weights, 2:16 along an axis, and whatever is left behind the last whole group zero."""
    generator = np.random.default_rng(seed)
    moved = [*shape[:axis], *shape[axis + 1 :], shape[axis]]
    weight = np.zeros(moved, np.float32)
    whole = shape[axis] // 16 * 16
    kept = generator.random((np.prod(moved[:-1], dtype=int), whole // 16, 16)).argsort(-1) < 2
    weight[..., :whole] = np.where(kept, generator.normal(size=kept.shape), 0).reshape(*moved[:-1], whole)
    return np.ascontiguousarray(np.moveaxis(weight, -1, axis))


def deployed(
    model: ModelProto, shapes: dict[str, tuple[int, ...]], kind: Kind = "float32"
) -> tuple[ModelProto, list[Layer], list[Kept]]:
    """The model with everything deployed that can be."""
    graph = open_graph(model)
    layers, kept = find_layers(graph, shapes)
    return rewritten_graph(model, graph, dict.fromkeys(layers, kind)), layers, kept


def outputs(model: ModelProto, inputs: dict[str, np.ndarray]) -> list[Any]:
    """What ONNX Runtime makes of it, the operators registered."""
    return list(session(model.SerializeToString()).run(None, inputs))  # type: ignore[arg-type]


def same(model: ModelProto, changed: ModelProto, inputs: dict[str, np.ndarray]) -> None:
    """Both give the same up to rounding."""
    for wanted, found in zip(outputs(model, inputs), outputs(changed, inputs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def ops(model: ModelProto) -> list[str]:
    return [each.op_type for each in model.graph.node]


def test_a_block_with_a_residual(make_model: Make) -> None:
    """Two convolutions end in one Add: the one that runs first takes it, with the Relu behind it."""
    model = make_model(
        [
            node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["r"]),
            node("Conv", ["r", "w2"], ["c"], pads=[1, 1, 1, 1], dilations=[1, 1]),
            node("Conv", ["x", "w3"], ["d"]),
            node("Add", ["c", "d"], ["s"]),
            node("Relu", ["s"], ["y"]),
        ],
        {"x": ("N", 32, 9, 9)},
        {"y": ("N", 48, 9, 9)},
        {
            "w1": sparse((32, 32, 3, 3), 1, 1),
            "b1": normal(32),
            "w2": sparse((48, 32, 3, 3), 1, 2),
            "w3": sparse((48, 32, 1, 1), 1, 3),
        },
    )
    changed, layers, kept = deployed(model, dict.fromkeys(("c", "d"), (2, 48, 9, 9)))
    assert ops(changed) == ["NmConv"] * 3
    assert not kept
    assert [layer.residual for layer in layers] == [None, "d", None]
    same(model, changed, {"x": normal(2, 32, 9, 9)})


def test_a_sum_of_other_shapes_stays(make_model: Make) -> None:
    model = make_model(
        [node("Conv", ["x", "w"], ["c"]), node("Add", ["c", "z"], ["y"])],
        {"x": (1, 16, 3, 3), "z": (1, 32, 1, 1)},
        {"y": (1, 32, 3, 3)},
        {"w": sparse((32, 16, 1, 1), 1)},
    )
    changed, _, _ = deployed(model, {"c": (1, 32, 3, 3), "z": (1, 32, 1, 1)})
    assert ops(changed) == ["NmConv", "Add"]
    same(model, changed, {"x": normal(1, 16, 3, 3), "z": normal(1, 32, 1, 1)})


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(make_model: Make, transposed: int) -> None:
    shape = (40, 64) if transposed else (64, 40)
    model = make_model(
        [node("Gemm", ["x", "w", "b"], ["g"], transB=transposed), node("Clip", ["g", "low", "high"], ["y"])],
        {"x": ("N", 64)},
        {"y": ("N", 40)},
        {
            "w": sparse(shape, 1 if transposed else 0),
            "b": normal(40),
            "low": np.array(-0.5, np.float32),
            "high": np.array(1.5, np.float32),
        },
    )
    changed, layers, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul"]
    assert (layers[0].low, layers[0].high) == (-0.5, 1.5)
    same(model, changed, {"x": normal(7, 64)})


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_zeros_in_groups_of_outputs(make_model: Make, kind: Kind) -> None:
    """2:16 along the outputs, as another tool may prune: the operators read groups of inputs alone."""
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 48)}, {"y": ("N", 32)}, {"w": sparse((48, 32), 1)}
    )
    changed, layers, _ = deployed(model, {}, kind)
    assert len(layers) == 1
    x = normal(7, 48)
    wanted, found = outputs(model, {"x": x})[0], outputs(changed, {"x": x})[0]
    assert np.abs(found - wanted).max() < (1e-5 if kind == "float32" else 0.03) * np.abs(wanted).max()


def test_batched_product_with_a_bias_behind_it(make_model: Make) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["a"]), node("Add", ["a", "x"], ["y"])],
        {"x": ("N", "T", 64)},
        {"y": ("N", "T", 64)},
        {"w": sparse((64, 64), 0), "b": normal(64)},
    )
    changed, layers, _ = deployed(model, {"m": (2, 5, 64), "x": (2, 5, 64)})
    assert ops(changed) == ["NmMatMul"]
    assert layers[0].residual == "x"
    same(model, changed, {"x": normal(2, 5, 64)})


def test_a_bias_that_adds_an_axis_stays(make_model: Make) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])],
        {"x": ("N", 64)},
        {"y": (1, "N", 40)},
        {"w": sparse((64, 40), 0), "b": normal(1, 1, 40)},
    )
    changed, _, _ = deployed(model, {"m": (5, 40), "y": (1, 5, 40)})
    assert ops(changed) == ["NmMatMul", "Add"]
    same(model, changed, {"x": normal(5, 64)})


def test_int8_products_stay_close(make_model: Make) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])],
        {"x": ("N", 64)},
        {"y": ("N", 40)},
        {"w": sparse((64, 40), 0), "b": normal(40)},
    )
    changed, _, _ = deployed(model, {}, "int8")
    assert ops(changed) == ["NmMatMulInt8"]
    x = normal(9, 64)
    wanted, found = outputs(model, {"x": x})[0], outputs(changed, {"x": x})[0]
    assert 0 < np.abs(wanted - found).max() < 0.02 * np.abs(wanted).max()


def test_int8_convolutions_stay_close_and_in_bytes(make_model: Make) -> None:
    """Bytes go from one convolution to the next, through a pooling too; the output gets floats."""
    model = make_model(
        [
            node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
            node("Relu", ["a"], ["r"]),
            node("Conv", ["r", "w2"], ["c"], pads=[1, 1, 1, 1], group=2),
            node("Add", ["r", "c"], ["s"]),
            node("Clip", ["s", "low", "high"], ["t"]),
            node("MaxPool", ["t"], ["p"], kernel_shape=[2, 2]),
            node("Conv", ["p", "w3"], ["y"]),
        ],
        {"x": ("N", 32, 9, 8)},
        {"y": ("N", 48, 4, 3)},
        {
            "w1": sparse((32, 32, 3, 3), 1, 1),
            "b1": normal(32),
            "w2": sparse((32, 16, 3, 3), 1, 2),
            "w3": sparse((48, 32, 1, 1), 1, 3),
            "low": np.array(-1, np.float32),
            "high": np.array(4, np.float32),
        },
    )
    x = normal(3, 32, 9, 8)
    names = ["x", "r", "c", "t", "p", "y"]
    shown = ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names[1:-1])
    run = session(shown.SerializeToString())  # type: ignore[arg-type]
    ranges = seen_ranges(
        lambda inputs: dict(zip(["y", *names[1:-1]], run.run(None, inputs), strict=True)), [{"x": x}], names
    )
    graph = open_graph(model)
    layers, _ = find_layers(graph, {"r": (3, 32, 5, 4), "c": (3, 32, 5, 4)})
    grids = {name: Grid.of(*each[0]) for name, each in ranges.items()}
    changed = rewritten_graph(model, graph, dict.fromkeys(layers, "int8"), grids)
    assert ops(changed).count("NmConvInt8") == 3
    assert (ops(changed).count("NmToBytes"), ops(changed).count("NmToFloats")) == (1, 1)
    assert "NmPoolInt8" in ops(changed)
    assert not {"Add", "MaxPool"} & set(ops(changed))
    wanted, found = outputs(model, {"x": x})[0], outputs(changed, {"x": x})[0]
    assert np.abs(wanted - found).max() < 0.1 * np.abs(wanted).max()
    assert np.sqrt(np.mean((wanted - found) ** 2)) < 0.015 * np.abs(wanted).max()


def test_grids_hold_zero_and_cut_off_extremes() -> None:
    values = np.append(np.linspace(0.5, 2, 9999), 100).astype(np.float32)
    ranges = seen_ranges(lambda _: {}, [{"x": values}, {"x": values / 2}], ["x"])["x"]
    assert ranges[0] == (0.25, 100)
    assert 1.4 < ranges[2][1] < 1.6
    assert Grid.of(*ranges[0]) == Grid(float(np.float32(100 / 255)), 0)
    assert Grid.of(-1, 1).byte(0) == Grid.of(-1, 1).zero_point == 128
    assert Grid.of(-1, 3).byte(np.inf) == 255


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"weight": np.ones((32, 16, 1, 1), np.float32)}, "no zeros to skip, and no other layer has"),
        ({"weight": sparse((32, 16, 1, 1), 1).astype(np.float16)}, "float16, not as float32"),
        ({"weight": np.zeros((16, 1, 1, 1), np.float32), "group": 16}, "no zeros to skip, and no other layer has"),
        ({"weight": sparse((32, 16, 3, 3), 1), "auto_pad": "SAME_UPPER"}, "auto_pad"),
        ({"weight": sparse((32, 16, 1, 1), 1), "computed": "bias"}, "its bias is computed"),
        ({"weight": sparse((32, 16, 1, 1), 1), "computed": "weight"}, "no stored weight"),
    ],
)
def test_what_is_left_to_onnx_runtime(make_model: Make, broken: dict[str, Any], reason: str) -> None:
    weight, computed = broken.pop("weight"), broken.pop("computed", None)
    nodes = [
        node("Conv", ["x", "w" if computed != "weight" else "w2", "b2" if computed == "bias" else "b"], ["y"], **broken)
    ]
    nodes = [node("Abs", ["w"], ["w2"]), node("Abs", ["b"], ["b2"]), *nodes]
    arrays = {"w": weight, "b": np.zeros(len(weight), np.float32)}
    model = make_model(nodes, {"x": (1, 16, 5, 5)}, {"y": None}, arrays)
    changed, layers, kept = deployed(model, {})
    assert not layers
    assert [each.reason for each in kept if reason in each.reason]
    assert "Conv" in ops(changed)


def test_a_layer_without_zeros_may_join_those_that_have(make_model: Make) -> None:
    """Time decides: in 8 bits it may gain by itself, and it saves borders between bytes and floats."""
    model = make_model(
        [node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "v"], ["y"])],
        {"x": (1, 32, 5, 5)},
        {"y": None},
        {"w": sparse((32, 32, 1, 1), 1), "v": normal(16, 32, 1, 1)},
    )
    changed, layers, kept = deployed(model, {"a": (1, 32, 5, 5)})
    assert [layer.skips for layer in layers] == [True, False]
    assert not kept
    same(model, changed, {"x": normal(1, 32, 5, 5)})


def test_what_else_is_in_the_file_stays(make_model: Make) -> None:
    """Metadata of the model and of nodes, doc strings, annotations, and names that a subgraph reads."""
    branch = helper.make_graph(
        [node("Mul", ["m", "scale"], ["branch_y"])], "then", [], [helper.make_tensor_value_info("branch_y", 1, None)]
    )
    other = helper.make_graph(
        [node("Neg", ["m"], ["other_y"])], "else", [], [helper.make_tensor_value_info("other_y", 1, None)]
    )
    model = make_model(
        [
            node("MatMul", ["x", "w"], ["m"], doc_string="a product"),
            node("Abs", ["m"], ["a"], name="kept", doc_string="as it was"),
            node("ReduceMax", ["x"], ["top"], keepdims=0),
            node("Greater", ["top", "limit"], ["above"]),
            node("If", ["above"], ["y"], then_branch=branch, else_branch=other),
        ],
        {"x": ("N", 64)},
        {"y": None, "a": ("N", 32)},
        {"w": sparse((64, 32), 0), "scale": np.array(3, np.float32), "limit": np.array(0.1, np.float32)},
        ir=10,
    )
    model.metadata_props.add(key="author", value="someone")
    model.metadata_props.add(key="domino_onnx.manifest", value="{}")
    model.graph.node[1].metadata_props.add(key="note", value="keep me")
    annotation = model.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    changed, _, _ = deployed(model, {})
    assert [entry.value for entry in changed.metadata_props] == ["someone"]
    assert changed.graph.node[1] == model.graph.node[1]
    assert list(changed.graph.quantization_annotation) == list(model.graph.quantization_annotation)
    assert (changed.ir_version, changed.producer_name) == (10, "tests")
    assert list(changed.graph.input) == list(model.graph.input)
    assert {"scale", "limit"} <= {tensor.name for tensor in changed.graph.initializer}
    assert "w" not in {tensor.name for tensor in changed.graph.initializer}
    same(model, changed, {"x": normal(3, 64)})


def test_weights_in_constant_nodes(make_model: Make) -> None:
    constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(sparse((64, 40), 0)))
    model = make_model([constant, node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 64)}, {"y": ("N", 40)}, {})
    changed, _, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul"]
    same(model, changed, {"x": normal(3, 64)})


def test_a_weight_of_two_products(make_model: Make) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["m"]), node("MatMul", ["m", "w"], ["y"])],
        {"x": ("N", 64)},
        {"y": ("N", 64)},
        {"w": sparse((64, 64), 0)},
    )
    changed, _, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul", "NmMatMul"]
    same(model, changed, {"x": normal(3, 64)})

"""Integers behind DequantizeLinear: which of them are sites, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from domino_onnx.scheme import Inventory, WeightKey

Make = Callable[..., Any]
Take = Callable[..., Inventory]
node = helper.make_node
RNG = np.random.default_rng(0)


def integers(*shape: int, dtype: Any = np.int8) -> Any:
    return RNG.integers(-100, 100, shape).astype(dtype)


def one(make_model: Make, *, weight: Any = None, scale: Any = None, zero: Any = None, **more: Any) -> Any:
    """x @ w, where w is made of integers."""
    arrays = {
        "w": integers(16, 32) if weight is None else weight,
        "s": np.float32(0.5) if scale is None else scale,
        **({} if zero is None else {"z": zero}),
    }
    inputs = ["w", "s", *(["z"] if "z" in arrays else [])]
    nodes = [node("DequantizeLinear", inputs, ["v"], **more.pop("attributes", {}))]
    nodes += [node("MatMul", ["x", "v"], ["y"]), *more.pop("behind", [])]
    return make_model(nodes, {"x": ["n", 16]}, {"y": None, **more.pop("outputs", {})}, arrays, **more)


def test_they_are_sites_of_their_own_type_and_their_zeros_are_counted(make_model: Make, inventory: Take) -> None:
    weight = integers(16, 32)
    weight[::2] = 0
    (site,) = inventory(one(make_model, weight=weight)).sites
    assert (site.dtype, site.layout.axis, site.op, site.learns) == ("int8", 0, "MatMul", False)
    assert site.zeros == int((weight == 0).sum()) > 256
    assert str(site.holds) == "2:4"


@pytest.mark.parametrize(
    ("scale", "zero", "axis"),
    [
        (np.float32([0.25]), np.zeros(1, np.int8), 1),
        (np.linspace(0.1, 1, 32, dtype=np.float32), np.zeros(32, np.int8), 1),
        (np.linspace(0.1, 1, 16, dtype=np.float32), np.zeros(16, np.int8), -2),
    ],
)
def test_scales_are_read_as_the_operator_reads_them(
    scale: Any, zero: Any, axis: int, make_model: Make, inventory: Take, run_ort: Callable[..., Any]
) -> None:
    given = {"weight": integers(16, 32), "scale": scale, "zero": zero, "attributes": {"axis": axis}}
    shown = one(make_model, **given, outputs={"v": [16, 32]})
    seen = run_ort(shown, {"x": np.zeros((1, 16), np.float32)})[1]
    (site,) = inventory(one(make_model, **given)).sites
    assert np.array_equal(site.numbers.floats(given["weight"]), seen)


def test_transposes_on_both_sides_are_followed(make_model: Make, inventory: Take, run_ort: Callable[..., Any]) -> None:
    stored, scale = integers(32, 8, 16), np.linspace(0.1, 1, 16, dtype=np.float32)
    nodes = [
        node("Transpose", ["w"], ["a"], perm=[2, 0, 1]),  # (16, 32, 8)
        node("Identity", ["a"], ["b"]),
        node("DequantizeLinear", ["b", "s"], ["c"], axis=0),
        node("Transpose", ["c"], ["v"], perm=[2, 0, 1]),  # (8, 16, 32)
        node("MatMul", ["x", "v"], ["y"]),
    ]
    arrays = {"w": stored, "s": scale}
    (site,) = inventory(make_model(nodes, {"x": [8, 1, 16]}, {"y": None}, arrays)).sites
    assert (site.key, site.layout.axis, site.layout.shape) == (WeightKey("w"), 2, (32, 8, 16))
    shown = make_model(nodes, {"x": [8, 1, 16]}, {"y": None, "v": [8, 16, 32]}, arrays)
    seen = run_ort(shown, {"x": np.zeros((8, 1, 16), np.float32)})[1]
    assert np.array_equal(site.numbers.floats(stored), seen.transpose(2, 0, 1))


def test_int16_are_sites_too(make_model: Make, inventory: Take) -> None:
    weight = integers(16, 32, dtype=np.int16)
    (site,) = inventory(one(make_model, weight=weight, opset=21, ir=10)).sites
    assert site.dtype == "int16"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"zero": np.int8(3)}, "zero point other than 0"),
        ({"scale": np.ones(32, np.float32), "zero": np.arange(32, dtype=np.int8)}, "zero point other than 0"),
        ({"weight": integers(16, 32, dtype=np.uint8), "zero": np.uint8(0)}, "its values are uint8"),
        ({"weight": integers(16, 32, dtype=np.uint8), "zero": np.uint8(128)}, "its values are uint8"),
        ({"weight": integers(16, 32, dtype=np.int32)}, "its values are int32"),
        (
            {"scale": np.ones((4, 32), np.float32), "attributes": {"axis": 0, "block_size": 4}, "opset": 21, "ir": 10},
            "a scale for each 4",
        ),
        ({"scale": np.ones(7, np.float32)}, "don't fit its shape"),
        ({"scale": np.float32(np.inf)}, "aren't finite"),
        ({"behind": [node("Identity", ["v"], ["z2"])], "outputs": {"z2": None}}, "graph output"),
        ({"behind": [node("Cast", ["w"], ["z2"], to=1)], "outputs": {"z2": None}}, "graph output"),
    ],
)
def test_others_are_left_alone_and_it_is_said_why(
    changes: dict[str, Any], says: str, make_model: Make, inventory: Take
) -> None:
    found = inventory(one(make_model, **changes), check=False)
    assert not found.sites
    assert [str(skip.key) for skip in found.skips] == ["w"]
    assert says in found.skips[0].reason


@pytest.mark.parametrize("scales", [(0.5, 0.5), (0.5, 0.25)])
def test_readers_must_agree_on_what_it_stands_for(
    scales: tuple[float, float], make_model: Make, inventory: Take
) -> None:
    nodes = [
        node("DequantizeLinear", ["w", "s"], ["v"]),
        node("DequantizeLinear", ["w", "t"], ["u"]),
        node("MatMul", ["x", "v"], ["h"]),
        node("MatMul", ["h", "u"], ["y"]),
    ]
    arrays = {"w": integers(16, 16), "s": np.float32(scales[0]), "t": np.float32(scales[1])}
    found = inventory(make_model(nodes, {"x": ["n", 16]}, {"y": None}, arrays))
    assert len(found.sites) == (scales[0] == scales[1])
    assert all("don't agree" in skip.reason for skip in found.skips)


def test_a_bias_of_integers_is_no_weight_and_a_bound_of_integers_no_float(make_model: Make, inventory: Take) -> None:
    nodes = [
        node("DequantizeLinear", ["w", "s"], ["v"]),
        node("DequantizeLinear", ["b", "t"], ["c"]),
        node("Gemm", ["x", "v", "c"], ["h"]),
        node("DequantizeLinear", ["m", "s"], ["most"]),
        node("Clip", ["h", "", "most"], ["y"]),
    ]
    arrays = {
        "w": integers(16, 32),
        "b": integers(32, dtype=np.int32),
        "m": np.int8(12),
        "s": np.float32(0.5),
        "t": np.float32(0.01),
    }
    found = inventory(make_model(nodes, {"x": ["n", 16]}, {"y": None}, arrays))
    assert [str(site.key) for site in found.sites] == ["w"]
    assert not found.skips


def test_operators_that_compute_in_integers_keep_their_weights(make_model: Make, inventory: Take) -> None:
    nodes = [node("DynamicQuantizeLinear", ["x"], ["a", "s", "z"]), node("MatMulInteger", ["a", "w", "z"], ["i"])]
    model = make_model([*nodes, node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)], {"x": ["n", 16]}, {"y": None}, {})
    model.graph.initializer.append(
        helper.make_tensor("w", TensorProto.INT8, [16, 32], integers(16, 32).tobytes(), True)
    )
    found = inventory(model)
    assert not found.sites
    assert "DequantizeLinear" in found.skips[0].reason


def test_a_scale_that_is_computed_leaves_them_dense(make_model: Make, inventory: Take) -> None:
    nodes = [node("Abs", ["t"], ["s"]), node("DequantizeLinear", ["w", "s"], ["v"]), node("MatMul", ["x", "v"], ["y"])]
    arrays = {"w": integers(16, 32), "t": np.float32(-1)}
    found = inventory(make_model(nodes, {"x": ["n", 16]}, {"y": None}, arrays))
    assert not found.sites
    assert "through DequantizeLinear" in found.skips[0].reason


def test_a_long_row_of_dequantizers_ends(make_model: Make, inventory: Take) -> None:
    """Nothing here follows one by calling itself."""
    nodes = [node("DequantizeLinear", ["w" if not k else f"v{k}", "s"], [f"v{k + 1}"]) for k in range(3000)]
    nodes.append(node("MatMul", ["x", "v3000"], ["y"]))
    model = make_model(nodes, {"x": ["n", 16]}, {"y": ["n", 32]}, {"w": integers(16, 32), "s": np.float32(0.5)})
    assert not inventory(model, check=False).sites

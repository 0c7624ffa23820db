"""What lies between convolutions in bytes takes and gives bytes: sums, slices, splits, and images made larger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

from .quantizing import deployed_in_bytes, quantized, told
from .test_regions import close, in_bytes
from .test_rewrite import normal, ops, sparse

Make = Callable[..., ModelProto]
node = helper.make_node
STORED = {
    "one": np.array([1], np.int64),
    "two": np.array([2], np.int64),
    "four": np.array([4], np.int64),
    "end": np.array([30], np.int64),
    "halves": np.array([16, 16], np.int64),
    "twice": np.array([1, 1, 2, 3], np.float32),
    "more channels": np.array([1, 2, 1, 1], np.float32),
    "half as much again": np.array([1, 1, 1.5, 1], np.float32),
    "w1": sparse((32, 16, 1, 1), 1, 1),
}
FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def between(make_model: Make, made: NodeProto, channels: int, opset: int = 17) -> ModelProto:
    """A node between two convolutions."""
    stored = {**STORED, "w2": normal(16, channels, 1, 1)}
    nodes = [node("Conv", ["x", "w1"], ["a"]), made, node("Conv", ["b", "w2"], ["y"])]
    read = {name for each in nodes for name in each.input}
    arrays = {name: array for name, array in stored.items() if name in read}
    return make_model(nodes, {"x": ("N", 16, 9, 8)}, {"y": None}, arrays, opset=opset)


@pytest.mark.parametrize(
    ("made", "channels", "op"),
    [
        (node("Slice", ["a", "four", "end", "one"], ["b"]), 26, "Slice"),
        (node("Slice", ["a", "four", "end", "one", "two"], ["b"]), 13, "Slice"),
        (node("Split", ["a", "halves"], ["b", "rest"], axis=1), 16, "Split"),
        (node("Resize", ["a", "", "twice"], ["b"], mode="nearest"), 32, "NmUpsampleInt8"),
        (node("Resize", ["a", "", "twice"], ["b"], mode="nearest", **FLOOR), 32, "NmUpsampleInt8"),
        (node("Resize", ["a", "", "twice"], ["b"], nearest_mode="round_prefer_ceil"), 32, "NmUpsampleInt8"),
    ],
)
def test_what_moves_or_repeats_values_keeps_their_bytes(
    make_model: Make, made: NodeProto, channels: int, op: str
) -> None:
    model, x = between(make_model, made, channels), normal(2, 16, 9, 8)
    changed = in_bytes(model, x)
    assert ops(changed) == ["NmToBytes", "NmConvInt8", op, "NmConvInt8", "NmToFloats"]
    close(model, changed, x)


def test_an_upsampling_of_an_older_opset(make_model: Make) -> None:
    model = between(make_model, node("Upsample", ["a", "twice"], ["b"], mode="nearest"), 32, opset=9)
    changed = in_bytes(model, normal(2, 16, 9, 8))
    assert "NmUpsampleInt8" in ops(changed)
    close(model, changed, normal(2, 16, 9, 8))


@pytest.mark.parametrize(
    ("made", "channels"),
    [
        (node("Slice", ["a", "one", "four", "two"], ["b"]), 32),
        (node("Split", ["a", "halves"], ["b", "rest"], axis=1, name="computed"), 16),
        (node("Resize", ["a", "", "twice"], ["b"], mode="linear"), 32),
        (node("Resize", ["a", "", "half as much again"], ["b"], mode="nearest"), 32),
        (node("Resize", ["a", "", "more channels"], ["b"], mode="nearest"), 64),
        (node("Resize", ["a", "", "twice"], ["b"], **{**FLOOR, "nearest_mode": "ceil"}), 32),
        (node("Resize", ["a", "", "twice"], ["b"], coordinate_transformation_mode="align_corners"), 32),
    ],
)
def test_what_computes_with_places_gets_floats(make_model: Make, made: NodeProto, channels: int) -> None:
    model, x = between(make_model, made, channels), normal(2, 16, 9, 8)
    if made.name == "computed":  # sizes that no file stores
        model.graph.node[1].input[1] = "sizes"
        model.graph.node.insert(1, node("Identity", ["halves"], ["sizes"]))
    changed = in_bytes(model, x)
    assert made.op_type in ops(changed)
    assert ops(changed).count("NmToFloats") == 2
    close(model, changed, x)


@pytest.fixture
def block(make_model: Make) -> ModelProto:
    """As YOLOv8 has it: two halves, one of which goes through a convolution and is added to; then all together."""
    square: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    return make_model(
        [
            node("Conv", ["x", "w1"], ["a"]),
            node("Sigmoid", ["a"], ["sa"]),
            node("Mul", ["a", "sa"], ["ra"]),
            node("Split", ["ra", "halves"], ["p", "q"], axis=1),
            node("Conv", ["q", "w2"], ["b"], **square),
            node("Sigmoid", ["b"], ["sb"]),
            node("Mul", ["b", "sb"], ["rb"]),
            node("Add", ["q", "rb"], ["s"]),
            node("Concat", ["p", "q", "s"], ["c"], axis=1),
            node("Conv", ["c", "w3"], ["y"]),
        ],
        {"x": ("N", 16, 9, 8)},
        {"y": None},
        {
            "w1": STORED["w1"],
            "halves": STORED["halves"],
            "w2": normal(16, 16, 3, 3),
            "w3": sparse((16, 48, 1, 1), 1, 3),
        },
    )


def test_a_whole_block_in_bytes(block: ModelProto) -> None:
    x = normal(2, 16, 9, 8)
    changed = in_bytes(block, x)
    found = ops(changed)
    assert (found.count("NmToBytes"), found.count("NmToFloats")) == (1, 1)
    assert found.count("NmConvInt8") == 3
    assert {"Split", "Concat", "Add"} <= set(found)
    close(block, changed, x)


def test_a_sum_with_a_mean_in_bytes(make_model: Make) -> None:
    """What is added has one place: it repeats, with the channels last too."""
    model = make_model(
        [
            node("Conv", ["x", "w1"], ["a"]),
            node("Conv", ["x", "w1"], ["b"], strides=[9, 8]),
            node("Add", ["a", "b"], ["s"]),
            node("Conv", ["s", "w2"], ["y"]),
        ],
        {"x": (2, 16, 9, 8)},
        {"y": None},
        {"w1": STORED["w1"], "w2": sparse((16, 32, 1, 1), 1, 2)},
    )
    x = normal(2, 16, 9, 8)
    changed = in_bytes(model, x)
    assert ops(changed).count("NmToFloats") == 1
    close(model, changed, x)


def test_a_quantised_file_keeps_its_bytes(make_model: Make, tmp_path: Path) -> None:
    """Slices and larger images are on the grid of what they read, as ONNX Runtime quantises them."""
    model = make_model(
        [
            node("Conv", ["x", "w1"], ["a"], name="a"),
            node("Slice", ["a", "four", "end", "one"], ["b"], name="b"),
            node("Resize", ["b", "", "twice"], ["c"], name="c", mode="nearest"),
            node("Conv", ["c", "w2"], ["y"], name="y"),
        ],
        {"x": (2, 16, 9, 8)},
        {"y": None},
        {**{name: STORED[name] for name in ("four", "end", "one", "twice", "w1")}, "w2": normal(16, 26, 1, 1)},
    )
    x = normal(2, 16, 9, 8)
    file = quantized(model, [{"x": x}], tmp_path / "files")
    changed, layers, kept = deployed_in_bytes(file, {"x": x})
    assert (len(layers), kept) == (2, [])
    assert [op for op in ops(changed) if op.startswith("Nm")] == [
        "NmToBytes",
        "NmConvInt8",
        "NmUpsampleInt8",
        "NmConvInt8",
    ]
    assert "Slice" in ops(changed)
    wanted, found = told(file, {"x": x})["y"], told(changed, {"x": x})["y"]
    steps = np.abs(wanted - found) / np.diff(np.unique(wanted)).min()
    assert steps.max() < 1.5
    assert (steps > 0.5).mean() < 0.01

"""How operators read a weight, judged by what ONNX Runtime computes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from domino_onnx.graph.attributes import attributes
from domino_onnx.graph.operators import weight_view

CASES = [
    ("Conv", 1, (6, 4, 3, 3), {"group": 2}, (1, 8, 5, 5), 1),
    ("ConvTranspose", 1, (8, 3, 2, 2), {"group": 2}, (1, 8, 4, 4), 1),
    ("Gemm", 1, (8, 5), {}, (2, 8), 1),
    ("Gemm", 1, (5, 8), {"transB": 1}, (2, 8), 1),
    ("Gemm", 0, (5, 8), {}, (8, 2), 0),
    ("Gemm", 0, (8, 5), {"transA": 1}, (8, 2), 0),
    ("MatMul", 1, (3, 8, 5), {}, (3, 2, 8), 2),
    ("MatMul", 0, (3, 5, 8), {}, (3, 8, 2), 1),
]


@pytest.mark.parametrize(("operator", "position", "shape", "given", "data", "channels"), CASES)
def test_the_output_axis_counts_the_outputs(
    operator: str,
    position: int,
    shape: tuple[int, ...],
    given: dict[str, Any],
    data: tuple[int, ...],
    channels: int,
    make_model: Callable[..., Any],
    run_ort: Callable[..., Any],
) -> None:
    """One place on the output axis alone gives one output (of each convolution group); the rest are zero."""
    view = weight_view(operator, position, shape, given)
    assert view is not None
    assert view.output_axis is not None
    names = ["x", "w"] if position == 1 else ["w", "x"]
    node = helper.make_node(operator, names, ["y"], **given)
    model = make_model([node], {"x": data, "w": shape}, {"y": None}, {})
    weight = np.zeros(shape, np.float32)
    weight[(slice(None),) * view.output_axis + (1,)] = 1
    (output,) = run_ort(model, {"x": np.ones(data, np.float32), "w": weight})
    by_channel = np.moveaxis(output, channels, 0).reshape(output.shape[channels], -1)
    alive = np.flatnonzero(by_channel.any(axis=1)).tolist()
    each = view.conv_groups if operator == "ConvTranspose" else 1
    assert view.outputs == len(by_channel)
    assert alive == [1 + part * shape[view.output_axis] for part in range(each)]


@pytest.mark.parametrize(
    ("operator", "shape", "given"),
    [
        ("Conv", (4, 4), {}),
        ("ConvTranspose", (8, 3, 2, 2), {"group": 3}),
        ("ConvTranspose", (8, 3, 2, 2), {"group": 0}),
        ("Conv", (6, 4, 3, 3), {"group": 0}),
        ("Conv", (6, 4, 3, 3), {"group": -1}),
        ("Conv", (6, 4, 3, 3), {"group": 4}),
        ("MatMul", (), {}),
        ("Add", (4, 4), {}),
    ],
)
def test_what_does_not_fit_has_no_view(operator: str, shape: tuple[int, ...], given: dict[str, Any]) -> None:
    assert weight_view(operator, 1, shape, given) is None


def test_a_vector_has_no_output_axis() -> None:
    view = weight_view("MatMul", 1, (8,), {})
    assert view is not None
    assert (view.output_axis, view.outputs, view.layout.reduction) == (None, 1, 8)


def test_attributes_are_read_by_their_type() -> None:
    graph = helper.make_graph([], "g", [], [])
    given = {"i": 3, "f": 0.5, "s": "SAME", "ints": [1, 2], "floats": [0.5, 2.0]}
    node = helper.make_node("Any", [], ["y"], body=graph, **given)
    assert attributes(node) == {**given, "ints": (1, 2), "floats": (0.5, 2.0)}

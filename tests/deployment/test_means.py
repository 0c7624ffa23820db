"""Means of inputs, and biases that take back what rounded weights add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import Grid, InputMeans, find_layers, open_graph, rewritten_graph

from .test_rewrite import normal, outputs, sparse

Make = Callable[..., ModelProto]
CONVOLUTIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((24, 16, 1, 1), {}),
    ((24, 16, 3, 2), {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
    ((24, 16, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    ((24, 16, 5), {"strides": [3]}),
]


def _convolution(make_model: Make, shape: tuple[int, ...], how: dict[str, Any]) -> tuple[ModelProto, np.ndarray]:
    channels = shape[1] * how.get("group", 1)
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], **how)],
        {"x": ("N", channels, *[None] * (len(shape) - 2))},
        {"y": ("N", shape[0], *[None] * (len(shape) - 2))},
        {"w": sparse(shape, 1)},
    )
    return model, normal(3, channels, *[11, 9][: len(shape) - 2]) + np.arange(channels).reshape(
        -1, *[1] * (len(shape) - 2)
    ) % 5


@pytest.mark.parametrize(("shape", "how"), CONVOLUTIONS)
def test_means_give_the_mean_output(make_model: Make, shape: tuple[int, ...], how: dict[str, Any]) -> None:
    """Over two runs of different sizes, padding included."""
    model, x = _convolution(make_model, shape, how)
    x = x.astype(np.float32)
    layers, _ = find_layers(open_graph(model), {})
    means = InputMeans(layers)
    for part in (x[:1], x[1:]):
        means.add({"x": part})
    layer = means.layers()[0]
    assert layer.mean is not None
    rows = layer.rows.reshape(len(layer.mean), -1, layer.mean.shape[1])
    y = outputs(model, {"x": x})[0]
    wanted = y.mean(axis=(0, *range(2, y.ndim)))
    np.testing.assert_allclose(np.einsum("gok,gk->go", rows, layer.mean).reshape(-1), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_rounded_weights_leave_the_mean_as_it_was(make_model: Make, op: str) -> None:
    """One weight of 100 in each output makes the others coarse; inputs are far from zero."""
    if op == "Conv":
        weight = sparse((24, 32, 1, 1), 1)
        weight[:, 0] = 100
        model = make_model([helper.make_node(op, ["x", "w"], ["y"])], {"x": (1, 32, 9, 9)}, {"y": None}, {"w": weight})
        x = normal(1, 32, 9, 9) + 3
        x[:, 0] = 0
    else:
        weight = sparse((32, 24), 0)
        weight[0] = 100
        model = make_model([helper.make_node(op, ["x", "w"], ["y"])], {"x": (81, 32)}, {"y": None}, {"w": weight})
        x = normal(81, 32) + 3
        x[:, 0] = 0
    wanted = outputs(model, {"x": x})[0]
    grids = {"x": Grid.of(float(x.min()), float(x.max())), "y": Grid.of(float(wanted.min()), float(wanted.max()))}
    off = []
    for knows in (False, True):
        graph = open_graph(model)
        layers, _ = find_layers(graph, {})
        means = InputMeans(layers)
        means.add({"x": x})
        chosen: Any = dict.fromkeys(means.layers() if knows else layers, "int8")
        found = outputs(rewritten_graph(model, graph, chosen, grids), {"x": x})[0]
        along = (0, 2, 3) if op == "Conv" else 0
        off.append(np.abs((found - wanted).mean(axis=along)).max())
    assert off[1] < 0.1 * off[0]

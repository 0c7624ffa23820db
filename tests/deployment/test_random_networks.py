"""Every value of a network of random layers is what ONNX Runtime makes of the file, from the same values before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from domino_onnx.deployment import find_layers, open_graph, rewritten_graph

from .layer_by_layer import layer_by_layer
from .networks import Network
from .quantizing import deployed_in_bytes, shapes_of, told

Make = Callable[..., ModelProto]


@pytest.mark.parametrize("seed", range(40))
def test_a_quantised_network(make_model: Make, seed: int) -> None:
    """Bytes are a step apart at most, and only where a value lies between two of them."""
    network = Network(make_model, seed, in_bytes=True)
    model = network.model()
    changed, layers, _ = deployed_in_bytes(model, network.inputs)
    for wanted, found in layer_by_layer(model, changed, layers, network.inputs).values():
        assert (wanted.shape, wanted.dtype) == (found.shape, found.dtype)
        if wanted.dtype != np.float32:
            steps = np.abs(wanted.astype(int) - found)
            assert steps.max() <= 1
            assert (steps > 0).mean() < 0.01 or (steps > 0).sum() <= 2


@pytest.mark.parametrize("seed", range(40))
def test_a_network_in_floats(make_model: Make, seed: int) -> None:
    network = Network(make_model, seed, in_bytes=False)
    model = network.model()
    shapes, graph = shapes_of(model, network.inputs), open_graph(model)
    layers, _ = find_layers(graph, shapes)
    changed = rewritten_graph(model, graph, dict.fromkeys(layers, "float32"), {}, shapes)
    for wanted, found in layer_by_layer(model, changed, layers, network.inputs).values():
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1.0, float(np.abs(wanted).max())))
    assert told(changed, network.inputs).keys() == told(model, network.inputs).keys()

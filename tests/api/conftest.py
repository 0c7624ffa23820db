"""A small model with two products, and samples for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper


@pytest.fixture(scope="session")
def small(make_model: Callable[..., ModelProto]) -> ModelProto:
    """Two MatMuls with a Relu between: 32 -> 32 -> 4."""
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"], name="two"),
    ]
    arrays = {
        "first": generator.standard_normal((32, 32)).astype(np.float32),
        "second": generator.standard_normal((32, 4)).astype(np.float32),
    }
    model = make_model(nodes, {"x": ["batch", 32]}, {"y": ["batch", 4]}, arrays, ir=10)
    model.metadata_props.add(key="author", value="a test")
    model.graph.node[0].metadata_props.add(key="note", value="kept")
    return model


@pytest.fixture(scope="session")
def rows() -> Any:
    """(96, 32) samples."""
    return np.random.default_rng(1).standard_normal((96, 32)).astype(np.float32)

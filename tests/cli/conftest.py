"""A small model, and samples for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

node = helper.make_node


@pytest.fixture
def model(make_model: Callable[..., Any], save: Callable[..., Path]) -> Path:
    """Two MatMuls over (batch, 16)."""
    generator = np.random.default_rng(0)
    nodes = [
        node("MatMul", ["x", "a"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "b"], ["y"], name="second"),
        node("Conv", ["c", "k"], ["z"], name="small"),
    ]
    arrays = {
        "a": generator.standard_normal((16, 32)).astype(np.float32),
        "b": generator.standard_normal((32, 16)).astype(np.float32),
        "k": generator.standard_normal((2, 3, 1, 1)).astype(np.float32),
    }
    inputs = {"x": ["batch", 16], "c": ["batch", 3, 2, 2]}
    return save(make_model(nodes, inputs, {"y": None, "z": None}, arrays))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    np.savez(
        path,
        x=generator.standard_normal((60, 16)).astype(np.float32),
        c=generator.standard_normal((60, 3, 2, 2)).astype(np.float32),
    )
    return path

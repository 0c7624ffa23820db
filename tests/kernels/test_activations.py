"""Activations by themselves give what ONNX Runtime's own operators give."""

from __future__ import annotations

import numpy as np
import pytest

from .nodes import node_model, run_node

FUNCTIONS = {
    "HardSwish": ("HardSwish", {}),
    "Gelu": ("Gelu", {}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
}


def _swish(x: np.ndarray, alpha: float) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide * 0.5 * (1 + np.tanh(0.5 * alpha * wide))).astype(np.float32)


@pytest.mark.parametrize("name", [*FUNCTIONS, "Swish"])
@pytest.mark.parametrize("size", [0, 1, 4095, 9001])
def test_of_floats_of_all_sizes(library: str, instruction_set: str, name: str, size: int) -> None:
    generator = np.random.default_rng(size)
    x = (generator.normal(size=(size,)) * 10 ** generator.uniform(-6, 3, size)).astype(np.float32)
    own = node_model("NmActivation", ["x"], {}, activation=name, scale=2.0, offset=-1.0, alpha=1.5, gain=0.5, shift=3.0)
    inner = x * np.float32(2) - np.float32(1)
    if name == "Swish":
        wanted = _swish(inner, 1.5)
    else:
        op, attributes = FUNCTIONS[name]
        wanted = run_node(library, node_model(op, ["x"], {}, domain="", opset=20, **attributes), {"x": inner})
    found = run_node(library, own, {"x": x})
    np.testing.assert_allclose(found, wanted / 2 + 3, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", [*FUNCTIONS, "Swish"])
def test_what_is_no_number_stays_none(library: str, instruction_set: str, name: str) -> None:
    x = np.array([np.nan, np.inf, 1e30], np.float32)
    found = run_node(library, node_model("NmActivation", ["x"], {}, activation=name), {"x": x})
    np.testing.assert_array_equal(found, x)

"""Weights that a model quantises and dequantises itself, as training with fake quantisation leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from domino_onnx.pipeline import inspect, verify

Build = Callable[..., Path]


@pytest.fixture
def quantised(make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> Build:
    """A convolution and a product, each behind fake quantisation, and the data for them."""

    def build(zero_point: int = 0, dtype: str = "int8", *, shared: bool = False) -> Path:
        rng = np.random.default_rng(0)
        arrays = {
            "w": rng.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12,
            "v": rng.standard_normal((16, 32)).astype(np.float32) / 4,
            "ws": np.full(16, 0.005, np.float32),
            "wz": np.zeros(16, np.int8),
            "vs": np.float32(0.01),
            "vz": np.array(zero_point, dtype),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
            helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
            helper.make_node("Conv", ["x", "wd"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("QuantizeLinear", ["v", "vs", "vz"], ["vq"]),
            helper.make_node("DequantizeLinear", ["vq", "vs", "vz"], ["vd"]),
            helper.make_node("MatMul", ["f", "vd"], ["y"]),
            *([helper.make_node("Identity", ["vq"], ["raw"])] if shared else []),
        ]
        outputs: dict[str, Any] = {"y": ["n", 32]}
        model = make_model(nodes, {"x": ["n", 16, 8, 8]}, outputs, arrays, opset=17)
        if shared:
            kind = onnx.TensorProto.INT8
            model.graph.output.append(helper.make_tensor_value_info("raw", kind, [16, 32]))
        np.savez(tmp_path / "data.npz", x=rng.standard_normal((64, 16, 8, 8)).astype(np.float32))
        return save(model)

    return build


def test_they_are_sites(quantised: Build) -> None:
    assert {str(site.key) for site in inspect(quantised()).inventory.sites} == {"w", "v"}


@pytest.mark.parametrize(("zero_point", "dtype"), [(3, "int8"), (128, "uint8")])
def test_a_zero_point_that_moves_zeros_leaves_them_dense(zero_point: int, dtype: str, quantised: Build) -> None:
    inventory = inspect(quantised(zero_point, dtype)).inventory
    assert {str(site.key) for site in inventory.sites} == {"w"}
    (skip,) = [skip for skip in inventory.skips if str(skip.key) == "v"]
    assert "DequantizeLinear" in skip.reason


def test_integers_that_something_else_reads_leave_them_dense(quantised: Build) -> None:
    assert {str(site.key) for site in inspect(quantised(shared=True)).inventory.sites} == {"w"}


@pytest.mark.parametrize("data", [False, True])
def test_zeros_arrive_at_the_operators(data: bool, domino: Any, quantised: Build, tmp_path: Path) -> None:
    model, output = quantised(), tmp_path / "out.onnx"
    words = ["--data", tmp_path / "data.npz", "--finetune-steps", "4"] if data else []
    ran = domino("compress", model, "--scheme", "2:4", "-o", output, "--json", *words)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["solver"] == ("refit" if data else "magnitude")
    assert verify(output).holds
    shown = onnx.load(output)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("wd", "vd"))
    session = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.load(tmp_path / "data.npz") as arrays:
        w, v = session.run(["wd", "vd"], {"x": arrays["x"][:1]})
    assert np.count_nonzero(w.reshape(16, 4, 4, 3, 3), axis=2).max() <= 2
    assert np.count_nonzero(v.reshape(4, 4, 32), axis=1).max() <= 2
    assert np.count_nonzero(w) > 0.4 * w.size

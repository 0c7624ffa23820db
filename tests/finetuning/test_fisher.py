"""Fisher information, against its definition: every answer weighed by its probability, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

torch = pytest.importorskip("torch")

from domino_onnx.data import load_data  # noqa: E402
from domino_onnx.finetuning import fisher_information, open_distillation  # noqa: E402
from domino_onnx.graph import read_model  # noqa: E402
from domino_onnx.scheme import WeightKey  # noqa: E402


@pytest.mark.parametrize("softmax", [False, True])
def test_a_linear_classifier(softmax: bool, make_model: Any, save: Any, tmp_path: Any) -> None:
    """``E_x E_y (x_i (1[y = j] - p_j))^2 = E_x x_i^2 p_j (1 - p_j)``."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 6)).astype(np.float32) * np.float32([0.1, 0.5, 1, 1, 2, 3])
    weight = rng.standard_normal((6, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s" if softmax else "y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["s"], ["y"]))
    path = save(make_model(nodes, {"x": ["n", 6]}, {"y": None}, {"w": weight}))
    np.savez(tmp_path / "data.npz", x=x)
    file = read_model(path)
    data, kinds = load_data(tmp_path / "data.npz", file.proto), {"y": "probabilities" if softmax else "scores"}
    distillation = open_distillation(file, path, data, device="cpu", threads=1, kinds=kinds)
    found = fisher_information(distillation, [WeightKey("w")], batch_size=4)[WeightKey("w")]
    seen = x[distillation.train].astype(np.float64)
    scores = np.exp(seen @ weight)
    p = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, (seen**2).T @ (p * (1 - p)) / len(seen), rtol=0.25)


def test_other_outputs_are_normal(make_model: Any, save: Any, tmp_path: Any) -> None:
    """With the variance s of the outputs: ``E_x x_i^2 / s``, for each of them alike."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 1, 6)).astype(np.float32) * np.float32([0.1, 0.5, 1, 1, 2, 3])
    weight = rng.standard_normal((6, 3)).astype(np.float32)
    path = save(
        make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 1, 6]}, {"y": None}, {"w": weight})
    )
    np.savez(tmp_path / "data.npz", x=x)
    file = read_model(path)
    distillation = open_distillation(file, path, load_data(tmp_path / "data.npz", file.proto), device="cpu", threads=1)
    found = fisher_information(distillation, [WeightKey("w")], batch_size=4, seed=1)[WeightKey("w")]
    seen = x[distillation.train, 0].astype(np.float64)
    variance = (x[:, 0] @ weight).var()
    np.testing.assert_allclose(found, np.tile((seen**2).mean(0)[:, None] / variance, 3), rtol=0.25)

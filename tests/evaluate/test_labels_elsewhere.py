"""Labels of the samples that judge say what an output is, where the samples to learn from have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from domino_onnx.data import load_data
from domino_onnx.evaluate.evaluate import meanings_on
from domino_onnx.outputs import OutputKind
from domino_onnx.runtime import ChildSession

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
flat (float[n, 16] x) => (float[n, 10] y) { y = MatMul (x, w) }
"""
WEIGHT = np.random.default_rng(0).standard_normal((16, 10)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Ten sums of normal numbers: nothing in them says that they are scores."""
    made = onnx.parser.parse_model(TEXT)
    made.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def data(model: Path, seed: int, labels: str | None = None) -> Any:
    x = np.random.default_rng(seed).standard_normal((128, 16)).astype(np.float32)
    arrays = {"x": x}
    if labels is not None:
        chance = np.random.default_rng(seed).integers(0, 10, 128)
        arrays["labels"] = (x @ WEIGHT).argmax(1) if labels == "right" else chance
    path = model.parent / f"{seed}.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return load_data(path, onnx.load(model))


@pytest.mark.parametrize(
    ("labels", "given", "kind"),
    [
        (None, {}, "values"),
        ("right", {}, "scores"),
        ("by chance", {}, "values"),
        ("right", {"y": "values"}, "values"),
    ],
)
def test_labels_of_other_samples_decide(
    labels: str | None, given: dict[str, OutputKind], kind: OutputKind, model: Path
) -> None:
    with ChildSession(model, threads=1) as session:
        found = meanings_on(session, data(model, 1), 32, given, labelled=data(model, 2, labels))
    assert (found["y"].kind, found["y"].axis) == (kind, 1)

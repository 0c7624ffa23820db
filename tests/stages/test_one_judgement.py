"""What the outputs are is decided once in a run, from all that teaches: few samples that judge don't change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

Run = Callable[..., Any]
CLASSES = 8
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
classifier (float[n, 16] x) => (float[n, 8] scores) {
    h = MatMul (x, a)
    r = Relu (h)
    scores = MatMul (r, b)
}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 samples around the centres of eight classes, without labels."""
    path, generator = tmp_path / "data.npz", np.random.default_rng(0)
    centres = generator.standard_normal((CLASSES, 16))
    np.savez(path, x=(centres[np.arange(40) % CLASSES] + 0.1 * generator.standard_normal((40, 16))).astype(np.float32))
    return path


@pytest.fixture
def model(data: Path, tmp_path: Path) -> Path:
    """Scores of eight classes: the second weight is fitted to tell them apart."""
    generator = np.random.default_rng(1)
    with np.load(data) as arrays:
        x = arrays["x"]
    first = generator.standard_normal((16, 64)).astype(np.float32) / 4
    hidden, wanted = np.maximum(x @ first, 0), 8 * np.eye(CLASSES)[np.arange(40) % CLASSES]
    second = hidden.T @ np.linalg.solve(hidden @ hidden.T + 0.1 * np.eye(40), wanted)
    proto = onnx.parser.parse_model(MODEL)
    for name, weight in (("a", first), ("b", second.astype(np.float32))):
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("goal", [["--sparsity", "0.5"], ["--max-drop", "0.3"]])
def test_few_judges_count_answers_as_the_search_did(
    goal: list[str], domino: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    words = [*goal, "--data", data, "--finetune-steps", "4", "-o", tmp_path / "out.onnx", "--json"]
    ran = domino("compress", model, *words, recipe={"finetune.lr": 1e-4})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    parity = document["parity"]
    assert document["finetuning"] is not None
    assert parity["samples"] < 16  # too few to tell scores from other numbers by themselves
    assert [each["kind"] for each in parity["outputs"]] == ["scores"]
    assert parity["agreement"] is not None
    assert parity["relative_error"] is None
    assert {trial["metric"] for trial in document["trials"]} <= {"agreement"}
    assert bool(document["trials"]) == (goal[0] == "--max-drop")


def test_so_few_samples_tell_nothing_by_themselves(domino: Run, model: Path, data: Path, tmp_path: Path) -> None:
    """The premise of the test above: `evaluate` on as few of them sees no classes."""
    with np.load(data) as arrays:
        np.savez(tmp_path / "few.npz", x=arrays["x"][:10])
    ran = domino("evaluate", model, model, "--data", tmp_path / "few.npz", "--json")
    assert [each["kind"] for each in json.loads(ran.out)["outputs"]] == ["values"]

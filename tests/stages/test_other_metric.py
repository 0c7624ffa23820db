"""A run doesn't go on with plans that another metric judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import domino_onnx
from domino_onnx import DominoWarning

Run = Callable[..., Any]
LENIENT = "def judge(reference, candidate, labels):\n    return 1.0\n"
STRICT = "def judge(reference, candidate, labels):\n    return 1 - float(abs(reference['y'] - candidate['y']).max())\n"
UNSEEN = "the metric judge is a function, so that a change of it can't be seen: run without resume=True"


@pytest.fixture
def words(make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> list[object]:
    """Of a run that compares plans: a model, and samples."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((16, 16)).astype(np.float32)
    model = save(
        make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 16]}, {"y": None}, {"w": weight})
    )
    np.savez(tmp_path / "data.npz", x=generator.standard_normal((400, 16)).astype(np.float32))
    return ["compress", model, "--max-drop", "0.05", "--data", tmp_path / "data.npz", "--no-finetune"]


def test_a_file_counts_by_its_content(
    domino: Run, words: list[object], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    metric, copy, output = tmp_path / "metric.py", tmp_path / "copy.py", tmp_path / "out.onnx"
    metric.write_text(LENIENT)
    words += ["-o", output, "--checkpoint", tmp_path / "kept"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words, "--metric", f"{metric}:judge").code == 130
    metric.write_text(STRICT)
    ran = domino(*words, "--metric", f"{metric}:judge", "--resume", "--json")
    assert (ran.code, output.exists()) == (1, False)
    error = json.loads(ran.out)["error"]
    assert (error["type"], "of another run: metric was" in error["message"]) == ("CheckpointError", True)
    copy.write_text(LENIENT)
    ran = domino(*words, "--metric", f"{copy}:judge", "--resume", "--json")
    assert (ran.code, json.loads(ran.out)["warnings"]) == (0, []), ran.err


def test_a_metric_that_only_judges_the_end_may_change(
    domino: Run, words: list[object], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    metric = tmp_path / "metric.py"
    metric.write_text(LENIENT)
    goal = words.index("--max-drop")
    words[goal : goal + 2] = ["--sparsity", "0.5"]
    words += ["-o", tmp_path / "out.onnx", "--checkpoint", tmp_path / "kept", "--metric", f"{metric}:judge"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words).code == 130
    metric.write_text(STRICT)
    assert domino(*words, "--resume").code == 0


def test_a_function_is_doubted(words: list[object], tmp_path: Path, interrupt: Callable[..., Any]) -> None:
    def judge(reference: Mapping[str, Any], candidate: Mapping[str, Any], labels: Any) -> float:
        return 1.0

    def run(**more: Any) -> domino_onnx.CompressResult:
        given: Any = {"max_drop": 0.05, "data": words[words.index("--data") + 1], "finetune": False, "metric": judge}
        return domino_onnx.compress(str(words[1]), checkpoint=tmp_path / "kept", **given, **more)

    with interrupt("pipeline.pruning.write"), pytest.raises(KeyboardInterrupt):
        run()
    with pytest.warns(DominoWarning, match="can't be seen"):
        result = run(resume=True)
    assert [warning for warning in result.warnings if warning.startswith(UNSEEN)]
    assert not [warning for warning in run().warnings if "can't be seen" in warning]

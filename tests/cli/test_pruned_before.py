"""A file that is pruned once more: the new one tells of one run, so that the commands say what is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

Run = Callable[..., Any]
LEAN = ("--data", "none")


@pytest.fixture
def pruned(domino: Run, model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "pruned.onnx"
    ran = domino("compress", model, "--scheme", "2:4", "--target", "tensorrt", *LEAN, "-o", path)
    assert ran.code == 0, ran.err
    assert "pruned before" not in ran.err
    return path


def test_each_command_that_prunes_says_so(domino: Run, pruned: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    for words in (
        ("search", pruned, "--sparsity", "0.6", "-o", plan),
        ("apply", pruned, plan, "-o", tmp_path / "applied.onnx"),
        ("compress", pruned, "--sparsity", "0.6", "-o", tmp_path / "again.onnx"),
    ):
        ran = domino(*words, *LEAN)
        assert ran.code == 0, ran.err
        said = " ".join(ran.err.split())
        assert f"{pruned} was pruned before: 2 weights, for the target tensorrt" in said
        assert "forgets their schemes and the target: give the dense model" in said


def test_the_same_command_on_its_own_output_changes_no_byte_of_a_weight(
    domino: Run, pruned: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.onnx"
    ran = domino("compress", pruned, "--scheme", "2:4", "--target", "tensorrt", *LEAN, "-o", again)
    assert (ran.code, "was pruned before" in ran.err) == (0, True)
    found = [{each.name: each.raw_data for each in onnx.load(path).graph.initializer} for path in (again, pruned)]
    assert found[0] == found[1]

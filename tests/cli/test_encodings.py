"""Outputs that can't show every character: the work is done, and what can be shown is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

narrow = pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
NAME = "重み→"


@pytest.fixture
def named(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> Path:
    """A model whose weight has a name that no narrow encoding has."""
    weight = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    return save(
        make_model([helper.make_node("MatMul", ["x", NAME], ["y"])], {"x": (1, 16)}, {"y": None}, {NAME: weight})
    )


def ran(encoding: str, root: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    environment: dict[str, Any] = {**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "domino_onnx", *map(str, words)],
        capture_output=True, cwd=root, env=environment, timeout=100, check=False,
    )  # fmt: skip


@narrow
def test_a_summary_is_printed_in_any_encoding(encoding: str, named: Path, root: Path, tmp_path: Path) -> None:
    words = ["compress", named, "--sparsity", "0.5", "--data", "none", "-o", tmp_path / "out.onnx"]
    done = ran(encoding, root, *words)
    assert done.returncode == 0, done.stderr
    assert b"as written" in done.stdout
    done.stdout.decode(encoding)
    done.stderr.decode(encoding)


@narrow
def test_json_keeps_every_character(encoding: str, named: Path, root: Path) -> None:
    done = ran(encoding, root, "inspect", named, "--json")
    assert done.returncode == 0, done.stderr
    assert [site["weight"] for site in json.loads(done.stdout.decode(encoding))["sites"]] == [NAME]


@narrow
def test_an_error_is_told_in_any_encoding(encoding: str, root: Path, tmp_path: Path) -> None:
    done = ran(encoding, root, "inspect", tmp_path / f"{NAME}.onnx", "--json")
    assert done.returncode == 1
    assert NAME in json.loads(done.stdout.decode(encoding))["error"]["message"]
    assert b"there is no file" in done.stderr

"""Where the disk is full to which results go, that is said once, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


@pytest.mark.parametrize("ends", ["", "--json", "missing", "missing --json"])
def test_a_full_disk_is_told_on_stderr(
    ends: str, make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(make_model([node], {"x": [1, 8]}, {"y": [1, 8]}, {"w": np.eye(8, dtype=np.float32)}))
    model = path.parent / "missing" if "missing" in ends else path
    more = [word for word in ends.split() if word != "missing"]
    with FULL.open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "domino_onnx", "inspect", str(model), *more],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    said = f"there is no file {model}" if "missing" in ends else "can't print the result: No space left on device"
    assert ran.stderr == f"error: {said}\n"

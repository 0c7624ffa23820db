"""Where the disk is full to which results go, that is said once, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_too_little_room_is_told_before_and_after(
    make_model: Callable[..., onnx.ModelProto],
    save: Callable[..., Path],
    domino: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is going to be missing before the work, what hindered the write behind it, and nothing is left there."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = save(make_model([node], {"x": ["n", 64]}, {"y": ["n", 64]}, {"w": weight}))
    data, output = model.parent / "data.npz", model.parent / "out.onnx"
    np.savez(data, x=np.random.default_rng(0).standard_normal((128, 64)))

    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == output:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 5_000))  # type: ignore[attr-defined]
    monkeypatch.setattr(Path, "replace", full)
    ran = domino("compress", model, "--scheme", "2:4", "--data", data, "--no-finetune", "-o", output)
    said = " ".join(ran.err.split())
    assert ran.code == 1
    assert "of disk, and 5.00 kB is free: make room, or write elsewhere" in said
    assert f"can't write {output}: No space left on device; make room, or write elsewhere. A file that was" in said
    assert sorted(path.name for path in model.parent.iterdir()) == ["data.npz", "model.onnx"]

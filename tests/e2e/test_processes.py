"""Two processes of torch's launcher against one: the same course of the loss, one file, and one result told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def finetuned(samples: Path, output: Path, processes: int, *more: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words += ["-m", "domino_onnx", "compress", str(samples / "digits_transformer.onnx"), "--sparsity", "0.75"]
    words += ["--data", str(samples / "digits_calibration.npz"), "-o", str(output), "--threads", "1", "--json"]
    recipe = output.with_suffix(".toml")
    recipe.write_text('search.strategy = "uniform"\nsolver.method = "magnitude"\n')
    words += ["--recipe", str(recipe), "--finetune-steps", "20", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_same_loss_curve(samples: Path, tmp_path: Path) -> None:
    one = finetuned(samples, tmp_path / "one.onnx", 1)
    two = finetuned(samples, tmp_path / "two.onnx", 2, "--checkpoint", str(tmp_path / "kept"))
    alone, together = one["finetuning"], two["finetuning"]
    assert (alone["lr"], alone["steps"], alone["best_step"]) == (
        together["lr"],
        together["steps"],
        together["best_step"],
    )
    assert alone["after"] < alone["before"]
    for mine, theirs in zip(alone["history"], together["history"], strict=True):
        np.testing.assert_allclose([mine["loss"], mine["held_out"]], [theirs["loss"], theirs["held_out"]], rtol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.onnx", "one.toml", "two.onnx", "two.toml"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="the other process is found in /proc")
def test_a_killed_assistant_ends_the_run(samples: Path, tmp_path: Path) -> None:
    """The first process says why, with what it had found kept, and neither hangs nor writes what wasn't finetuned."""
    recipe, output = tmp_path / "recipe.toml", tmp_path / "out.onnx"
    recipe.write_text(
        'search.strategy = "uniform"\nsolver.method = "magnitude"\nfinetune.lr = 1e-4\nrun.checkpoint_after = 0\n'
    )
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words += ["-m", "domino_onnx", "compress", str(samples / "digits_transformer.onnx"), "--sparsity", "0.75"]
    words += ["--data", str(samples / "digits_calibration.npz"), "-o", str(output), "--threads", "1"]
    words += ["--recipe", str(recipe), "--finetune-steps", "100000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while not (tmp_path / "out.onnx.partial" / "finetuning.npz").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(assistant_of(process.pid), signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "lost touch with the other processes" in said or "interrupted" in said
    assert "the command that started all processes, and --resume at its end" in said
    assert not output.exists()


def assistant_of(launcher: int) -> int:
    """The process that the launcher started with rank 1."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(child) for child in children if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes())


def test_without_finetuning_the_others_have_nothing_to_do(samples: Path, tmp_path: Path) -> None:
    assert finetuned(samples, tmp_path / "out.onnx", 2, "--no-finetune")["finetuning"] is None


def test_without_data_the_others_end_by_themselves(samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words += ["-m", "domino_onnx", "compress", str(samples / "digits_transformer.onnx"), "--scheme", "2:4"]
    words += ["--data", "none", "-o", str(output), "--threads", "1", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["finetuning"] is None
    assert any("finetuning is skipped" in warning for warning in document["warnings"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]

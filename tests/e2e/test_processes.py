"""Two processes of torch's launcher against one: the same course of the loss, one file, and one result told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


MAGNITUDE = 'search.strategy = "uniform"\nsolver.method = "magnitude"\n'
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "domino_onnx"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def arguments(model: Path, samples: Path, output: Path, recipe: str = MAGNITUDE) -> list[str]:
    """Of a run that finetunes in 10 steps."""
    file = output.with_suffix(".toml")
    file.write_text(recipe)
    words = ["compress", model, "--sparsity", "0.75", "--data", samples / "digits_calibration.npz", "-o", output]
    return [*map(str, words), "--threads", "1", "--recipe", str(file), "--finetune-steps", "10"]


def by_two(words: list[str]) -> dict[str, Any]:
    """What two processes tell that are started as the launcher starts them, without waiting for the launcher itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    given = {**ENVIRONMENT, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    other, first = (
        subprocess.Popen(
            [sys.executable, "-m", "domino_onnx", *words, "--json"],
            env={**given, "RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("1", "0")
    )  # fmt: skip
    (said, errors), (silence, more) = first.communicate(timeout=300), other.communicate(timeout=300)
    assert (first.returncode, other.returncode, silence) == (0, 0, ""), errors + more
    document: dict[str, Any] = json.loads(said)
    return document


def test_the_same_loss_curve(small_digits: Path, samples: Path, tmp_path: Path, domino: Any) -> None:
    ran = domino(*arguments(small_digits, samples, tmp_path / "one.onnx"), "--json")
    assert ran.code == 0, ran.err
    words = [*arguments(small_digits, samples, tmp_path / "two.onnx"), "--checkpoint", str(tmp_path / "kept")]
    alone, together = json.loads(ran.out)["finetuning"], by_two(words)["finetuning"]
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
def test_a_killed_assistant_ends_the_run(small_digits: Path, samples: Path, tmp_path: Path) -> None:
    """The first process says why, with what it had found kept, and neither hangs nor writes what wasn't finetuned."""
    output = tmp_path / "out.onnx"
    recipe = f"{MAGNITUDE}finetune.lr = 1e-4\nrun.checkpoint_after = 0\n"
    words = [*LAUNCHER, *arguments(small_digits, samples, output, recipe)[:-1], "100000"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
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


def test_without_finetuning_the_others_have_nothing_to_do(small_digits: Path, samples: Path, tmp_path: Path) -> None:
    words = arguments(small_digits, samples, tmp_path / "out.onnx")
    assert by_two([*words, "--no-finetune"])["finetuning"] is None


def test_without_data_the_others_end_by_themselves(small_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    document = by_two(["compress", str(small_digits), "--scheme", "2:4", "--data", "none", "-o", str(output)])
    assert document["finetuning"] is None
    assert any("finetuning is skipped" in warning for warning in document["warnings"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]

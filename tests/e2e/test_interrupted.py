"""The command line killed, terminated and resumed: the same bytes as undisturbed, and nothing half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no such signals")

STEPS = 60


def command(samples: Path, output: Path, *more: str, every: int = 100) -> list[str]:
    words = ["compress", str(samples / "digits_transformer.onnx"), "--sparsity", "0.75", "-o", str(output), "--quiet"]
    words += ["--data", str(samples / "digits_calibration.npz"), "--finetune-steps", str(STEPS), "--threads", "1"]
    recipe = output.with_suffix(".toml")
    recipe.write_text(f"finetune.lr = 0.001\nrun.checkpoint_every = {every}\n")
    return [sys.executable, "-m", "domino_onnx", *words, "--recipe", str(recipe), *more]


@pytest.fixture(scope="module")
def undisturbed(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("whole") / "out.onnx"
    subprocess.run(command(samples, output), check=True)
    return output.read_bytes()


def run_until(words: list[str], seconds: float, blow: signal.Signals) -> int:
    """Start, send the signal after `seconds`, and wait for the end."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(blow)
        return process.wait(60)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(seed: int, samples: Path, undisturbed: bytes, tmp_path: Path) -> None:
    output, folder = tmp_path / "out.onnx", tmp_path / "checkpoint"
    words = command(samples, output, "--checkpoint", str(folder), "--resume", every=5)
    for wait in np.random.default_rng(seed).uniform(0.5, 6, 2):
        if run_until(words, wait, signal.SIGKILL) == 0:
            break
        assert not output.exists()
    if not output.exists():
        subprocess.run(words, check=True)
    assert output.read_bytes() == undisturbed


def test_terminated_while_finetuning(samples: Path, undisturbed: bytes, tmp_path: Path) -> None:
    """SIGTERM makes a checkpoint at once, between those that are due."""
    output, folder = tmp_path / "out.onnx", tmp_path / "checkpoint"
    words = command(samples, output, "--checkpoint", str(folder), every=20)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not (folder / "finetuning.npz").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said, code = process.stderr.read(), process.wait(60)
    assert (code, output.exists(), "interrupted" in said) == (130, False, True)
    with np.load(folder / "finetuning.npz") as archive:
        assert 20 < json.loads(archive["head"].tobytes())["document"]["state"]["step"] < 40
    refused = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (refused.returncode, "give --resume" in refused.stderr) == (1, True)
    subprocess.run([*words, "--resume"], check=True)
    assert output.read_bytes() == undisturbed
    other = subprocess.run([*words, "--resume", "--force", "--seed", "7"], check=False, capture_output=True, text=True)
    assert (other.returncode, "seed was '0', is '7'" in other.stderr) == (1, True)
    assert output.read_bytes() == undisturbed

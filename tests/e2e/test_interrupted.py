"""The command line killed, terminated and resumed: the same bytes and report as undisturbed, and nothing half written.

`benchmarks/interrupting.py` kills at many moments of a run with all its stages.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no such signals")

QUICK = 'search.strategy = "uniform"\nsolver.method = "magnitude"\nfinetune.lr = 0.001\n'
AT_ONCE = "run.checkpoint_after = 0\nrun.checkpoint_every = 0\n"
OF_THE_ATTEMPT = ("seconds", "peak_rss_bytes_by_stage", "peak_rss_bytes", "forecast")


def command(samples: Path, folder: Path) -> list[str]:
    recipe = folder / "recipe.toml"
    recipe.write_text(QUICK + AT_ONCE)
    words = ["compress", samples / "digits_transformer.onnx", "--max-drop", "0.05", "--finetune-steps", "30"]
    words += ["--data", samples / "digits_calibration.npz", "--eval-data", samples / "digits_evaluation.npz"]
    words += ["--recipe", recipe, "--threads", "1", "-o", folder / "out.onnx", "--report", folder / "report.json"]
    return [sys.executable, "-m", "domino_onnx", *map(str, words), "--quiet"]


def outcome(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the output, and the report without what each attempt has of its own."""
    report = json.loads((folder / "report.json").read_text())
    return (folder / "out.onnx").read_bytes(), {
        key: value for key, value in report.items() if key not in (*OF_THE_ATTEMPT, "output")
    }


@pytest.fixture(scope="module")
def undisturbed(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(command(samples, folder), check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["out.onnx", "recipe.toml", "report.json"]
    return outcome(folder)


def ended_once(words: list[str], kept: Path, pattern: str, blow: signal.Signals) -> tuple[int, str]:
    """Start, send the signal as soon as a file of this name is kept, and wait: the exit code, and what it said."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not list(kept.glob(pattern)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(blow)
        return process.wait(120), process.stderr.read()


def test_killed_three_times(samples: Path, undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path) -> None:
    """The second attempt starts anew, and says so; the others go on from what the one before had found."""
    words, kept = command(samples, tmp_path), tmp_path / "out.onnx.partial"
    earlier = f"an earlier run was interrupted, and what it had found is kept in {kept}"
    for pattern, more, tells in (
        ("trial-*.npz", [], False),
        ("found.npz", [], True),
        ("finetuning.npz", ["--resume"], False),
    ):
        code, said = ended_once([*words, *more], kept, pattern, signal.SIGKILL)
        assert (code, (tmp_path / "out.onnx").exists(), earlier in said) == (-signal.SIGKILL, False, tells)
    subprocess.run([*words, "--resume"], check=True)
    assert outcome(tmp_path) == undisturbed
    assert not kept.exists()


def test_terminated_while_finetuning(samples: Path, undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path) -> None:
    """The message names the command that goes on. Another run is refused."""
    words, kept = command(samples, tmp_path), tmp_path / "out.onnx.partial"
    code, said = ended_once(words, kept, "finetuning.npz", signal.SIGTERM)
    assert (code, (tmp_path / "out.onnx").exists()) == (130, False)
    assert f"what was found is kept in {kept}" in said
    going_on = next(line for line in said.splitlines() if line.endswith(" --resume"))
    assert shlex.split(going_on) == [*words, "--resume"]
    other = subprocess.run([*words, "--resume", "--seed", "7"], check=False, capture_output=True, text=True)
    assert (other.returncode, "seed was '0', is '7'" in other.stderr) == (1, True)
    subprocess.run(going_on, shell=True, check=True)
    assert outcome(tmp_path) == undisturbed

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


def command(model: Path, samples: Path, folder: Path) -> list[str]:
    recipe = folder / "recipe.toml"
    recipe.write_text(QUICK + AT_ONCE)
    words = ["compress", model, "--max-drop", "0.05", "--finetune-steps", "30"]
    words += ["--data", samples / "digits_calibration.npz", "--eval-data", samples / "digits_evaluation.npz"]
    words += ["--recipe", recipe, "--threads", "1", "-o", folder / "out.onnx", "--report", folder / "report.json"]
    return [sys.executable, "-m", "domino_onnx", *map(str, words), "--quiet"]


def outcome(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the output, and the report without what each attempt has of its own."""
    report = json.loads((folder / "report.json").read_text())
    return (folder / "out.onnx").read_bytes(), {
        key: value for key, value in report.items() if key not in (*OF_THE_ATTEMPT, "output")
    }


@pytest.fixture
def undisturbed(
    small_digits: Path, samples: Path, domino: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("whole")
    assert domino(*command(small_digits, samples, folder)[3:]).code == 0
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


def test_killed_and_terminated(
    small_digits: Path, samples: Path, undisturbed: tuple[bytes, dict[str, Any]], domino: Any, tmp_path: Path
) -> None:
    """The second attempt starts anew, and says so; the others go on from what the one before had found.

    A termination tells the command that goes on. Another run is refused. The last kill comes when the output is there.
    """
    words, kept = command(small_digits, samples, tmp_path), tmp_path / "out.onnx.partial"
    earlier = f"an earlier run was interrupted, and what it had found is kept in {kept}"
    for pattern, tells in (("trial-*.npz", False), ("found.npz", True)):
        code, said = ended_once(words, kept, pattern, signal.SIGKILL)
        assert (code, (tmp_path / "out.onnx").exists(), earlier in said) == (-signal.SIGKILL, False, tells)
    code, said = ended_once([*words, "--resume"], kept, "finetuning.npz", signal.SIGTERM)
    assert (code, (tmp_path / "out.onnx").exists()) == (130, False)
    assert f"what was found is kept in {kept}" in said
    going_on = next(line for line in said.splitlines() if line.endswith(" --resume"))
    assert shlex.split(going_on) == [*words, "--resume"]
    other = domino(*words[3:], "--resume", "--seed", "7")
    assert (other.code, "seed was '0', is '7'" in other.err) == (1, True)
    code, _ = ended_once([*words, "--resume"], tmp_path, "out.onnx", signal.SIGKILL)
    assert (code, (tmp_path / "out.onnx").exists(), kept.exists()) == (-signal.SIGKILL, True, True)
    assert domino(*words[3:], "--resume").code == 0
    assert outcome(tmp_path) == undisturbed
    assert not kept.exists()

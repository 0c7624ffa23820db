"""benchmarks/gpu.py runs, as far as it goes without a GPU, and compares runs with each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")


@pytest.mark.long
def test_the_script_measures_and_compares(root: Path, samples: Path, tmp_path: Path) -> None:
    program = root / "benchmarks" / "gpu.py"
    if not program.is_file():
        pytest.skip("benchmarks/ is not in this copy of the project")
    words = [sys.executable, str(program), "digits", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    words += ["--quick", "--steps", "2", "--runs", "cpu,cuda", "--seconds", "60"]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "gpu.json").read_text())
    first, second = (row for row in document["compress"] if "run" in row)
    assert (first["run"], first["provider"]) == ("cpu", "CPUExecutionProvider")
    assert first["seconds"]["finetune"] > 0
    assert set(first["schemes"].values()) <= {"1:16", "2:16", "4:16", "8:16"}
    assert "--device cuda: " in second["failed"]
    assert "Traceback" not in second["failed"]
    assert document["layers"][0]["left_out"] == document["memory"][0]["left_out"] == "there is no GPU"
    assert document["pace"][0]["samples_per_s"] > 0
    assert "samples_per_s=" in done.stdout

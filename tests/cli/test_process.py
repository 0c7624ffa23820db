"""What only a process of its own can show: imports, pipes and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(*arguments: object, root: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, cwd=root, env=_ENVIRONMENT, timeout=100, check=False, **options,
    )  # fmt: skip


def test_inspect_needs_neither_torch_nor_onnxruntime(model: Path, root: Path) -> None:
    code = (
        "import sys; sys.argv = ['domino-onnx', 'inspect', sys.argv[1], '--json']\n"
        "from domino_onnx.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = started("-c", code, model, root=root)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip() == "[]"
    json.loads(ran.stdout)


def test_it_runs_as_a_module(model: Path, root: Path) -> None:
    ran = started("-m", "domino_onnx", "inspect", model, root=root)
    assert ran.returncode == 0, ran.stderr
    assert "first" in ran.stdout


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("module", ["numpy", "click", "domino_onnx.pipeline"])
def test_an_interrupted_import_is_quiet(module: str, model: Path, root: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from domino_onnx.cli import main\n"
        "sys.argv[0] = 'domino-onnx'\n"
        "main()\n"
    )
    ran = started("-c", code, "inspect", model, root=root)
    assert (ran.returncode, ran.stderr, ran.stdout) == (130, "interrupted\n", "")


def test_a_closed_pipe_is_no_traceback(model: Path, root: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m domino_onnx inspect '{model}' | true"],
        capture_output=True, text=True, cwd=root, env=_ENVIRONMENT, timeout=100, check=False,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr


@pytest.mark.usefixtures("hears_ctrl_c")
def test_an_interruption_ends_with_130_and_writes_nothing(model: Path, root: Path, tmp_path: Path) -> None:
    output, recipe = tmp_path / "out.onnx", tmp_path / "recipe.toml"
    recipe.write_text("search.domino.check_every = 100000000")
    process = subprocess.Popen(
        [sys.executable, "-m", "domino_onnx", "compress", str(model), "--sparsity", "0.9", "-o", str(output),
         "--recipe", str(recipe)],
        cwd=root, env=_ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    while "elapsed" not in said:  # a stage has begun
        line = process.stderr.readline()
        assert line, f"ended without a stage: {said}"
        said += line
    process.send_signal(signal.SIGINT)
    try:
        _, message = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said + message
    assert "Traceback" not in message
    assert not output.exists()
    assert not list(tmp_path.glob(".*tmp"))

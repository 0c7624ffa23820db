"""Names that aren't UTF-8 are refused in words, before any work: no model of that name runs, no report holds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import domino_onnx
from domino_onnx.errors import DataError, DominoError, ModelError, OptionError, OutputError, PlanError

Run = Callable[..., Any]
ODD = os.fsdecode(b"m\xe9")
SPARSE = ("--sparsity", "0.5", "--no-finetune")
COMMANDS: dict[str, tuple[str, ...]] = {
    "model": ("inspect", "{odd}.onnx"),
    "checked": ("verify", "{odd}.onnx"),
    "candidate": ("evaluate", "model.onnx", "{odd}.onnx", "--data", "data.npz"),
    "samples": ("evaluate", "model.onnx", "model.onnx", "--data", "{odd}.npz"),
    "data": ("compress", "model.onnx", *SPARSE, "--data", "{odd}.npz"),
    "output": ("compress", "model.onnx", *SPARSE, "--data", "none", "-o", "{odd}.onnx"),
    "report": ("compress", "model.onnx", *SPARSE, "--data", "none", "--report", "{odd}.json"),
    "checkpoint": ("compress", "model.onnx", *SPARSE, "--data", "none", "--checkpoint", "{odd}"),
    "metric": ("compress", "model.onnx", *SPARSE, "--data", "none", "--metric", "{odd}.py:f"),
    "plan": ("apply", "model.onnx", "{odd}.json", "--data", "none"),
    "new plan": ("search", "model.onnx", "--sparsity", "0.5", "--data", "none", "-o", "new{odd}.json"),
}


@pytest.fixture
def folder(model: Path, data: Path, tmp_path: Path, domino: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, data, a plan and a folder, each under a name that isn't UTF-8 too."""
    monkeypatch.chdir(tmp_path)
    assert domino("search", model, "--sparsity", "0.5", "-o", "plan.json").code == 0
    try:
        (tmp_path / ODD).mkdir()
    except OSError as error:
        pytest.skip(f"this file system has no names like it: {error}")
    for path, ending in ((model, ".onnx"), (data, ".npz"), (tmp_path / "plan.json", ".json")):
        shutil.copy(path, tmp_path / f"{ODD}{ending}")
    shutil.copy(model, tmp_path / ODD / "model.onnx")
    return tmp_path


def said(name: str) -> str:
    return f"the name {name!r} isn't UTF-8; give another name"


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_name_is_refused_in_words(words: tuple[str, ...], folder: Path, domino: Run) -> None:
    before = sorted(folder.iterdir())
    ran = domino(*(word.format(odd=ODD) for word in words), "--json")
    assert ran.code in (1, 2), ran.err
    message = json.loads(ran.out)["error"]["message"]
    assert ("isn't UTF-8; give another name" in message, "bug" in ran.err) == (True, False), message
    assert sorted(folder.iterdir()) == before


def test_a_folder_is_refused_for_what_is_written(folder: Path, domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = f"{ODD}{os.sep}model.onnx"
    ran = domino("inspect", inside)
    assert (ran.code, said(inside) in ran.err) == (1, True)
    monkeypatch.chdir(folder / ODD)
    assert domino("inspect", "model.onnx", "--json").code == 0
    ran = domino("compress", "model.onnx", *SPARSE, "--data", "none")
    assert (ran.code, said(str(folder / ODD)) in ran.err) == (1, True)
    assert [path.name for path in (folder / ODD).iterdir()] == ["model.onnx"]


def test_an_error_that_tells_such_a_name_is_json(folder: Path) -> None:
    words = [sys.executable, "-m", "domino_onnx", "compress", "model.onnx", "--recipe", f"{ODD}.toml", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    ran = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert f"the recipe {ODD}.toml" in json.loads(ran.stdout)["error"]["message"], ran.stderr.decode()
    assert (ran.returncode, ran.stdout.isascii()) == (2, True)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (ModelError, lambda model: domino_onnx.inspect(f"{ODD}.onnx")),
        (DataError, lambda model: domino_onnx.evaluate(model, model, f"{ODD}.npz")),
        (OptionError, lambda model: domino_onnx.search(model, sparsity=0.5, data=f"{ODD}.npz")),
        (PlanError, lambda model: domino_onnx.apply(model, f"{ODD}.json", data="none")),
        (OutputError, lambda model: domino_onnx.convert(model, format="dense").save(f"new{ODD}.onnx")),
    ],
    ids=["model", "samples", "data", "plan", "output"],
)
def test_from_python_too(kind: type[DominoError], call: Callable[[Path], object], folder: Path) -> None:
    with pytest.raises(kind, match="isn't UTF-8; give another name"):
        call(folder / "model.onnx")

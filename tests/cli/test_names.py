"""Names from files are printed as they are: never as markup, and never as codes that change the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import domino_onnx

Run = Callable[..., Any]
NAMES = {
    "a closing tag": ("[/y]", "[/y]"),
    "a tag": ("out[logits]", "out[logits]"),
    "an emoji": (":smile:", ":smile:"),
    "a code of the terminal's": ("a\x1b[31mb", r"a\x1b[31mb"),
    "two lines": ("a\nerror: b", r"a\nerror: b"),
}
named = pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)


@pytest.fixture
def of_two_outputs(
    make_model: Callable[..., ModelProto], save: Callable[..., Path], tmp_path: Path
) -> Callable[[str], tuple[Path, Path]]:
    """Makes a model of two outputs, and samples: the output that loses most, a node and the weights have this name."""

    def make(name: str) -> tuple[Path, Path]:
        generator = np.random.default_rng(0)
        nodes = [
            helper.make_node("MatMul", ["x", f"{name}1"], ["h"], name=name),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", f"{name}2"], [name], name="second"),
        ]
        arrays = {each: generator.standard_normal((16, 16)).astype(np.float32) for each in (f"{name}1", f"{name}2")}
        model = save(make_model(nodes, {"x": ("batch", 16)}, {name: None, "r": None}, arrays))
        samples = tmp_path / "samples.npz"
        np.savez(samples, x=generator.standard_normal((64, 16)).astype(np.float32))
        return model, samples

    return make


@named
def test_every_summary_shows_names_as_they_are(
    name: str, shown: str, domino: Run, of_two_outputs: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    model, samples = of_two_outputs(name)
    pruned = tmp_path / "pruned.onnx"
    summaries = [
        ("compress", model, "--sparsity", "0.5", "--data", samples, "--no-finetune", "-o", pruned),
        ("evaluate", model, pruned, "--data", samples),
        ("sweep", model, "--sparsity", "0.5", "--data", samples),
        ("search", model, "--sparsity", "0.5", "--data", samples, "-o", tmp_path / "plan.json"),
        ("inspect", model, "--bridge"),
        ("verify", pruned),
        ("doctor", pruned),
        ("convert", pruned, "--format", "packed", "-o", tmp_path / "packed.onnx"),
    ]
    for words in summaries:
        ran = domino(*words)
        assert ran.code == 0, (words[0], ran.err)
        assert shown in ran.out, words[0]
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.filterwarnings("ignore:the written file lost much:domino_onnx.DominoWarning")
@named
def test_python_shows_names_as_they_are(
    name: str, shown: str, of_two_outputs: Callable[[str], tuple[Path, Path]]
) -> None:
    model, samples = of_two_outputs(name)
    assert shown in str(domino_onnx.compress(model, sparsity=0.5, data=samples, finetune=False))


@named
def test_errors_show_names_as_they_are(name: str, shown: str, domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    document = json.loads(plan.read_text())
    plan.write_text(json.dumps({**document, "sites": [{"weight": name, "scheme": "2:4"}]}))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert shown in ran.err
    assert "\x1b" not in ran.err


def test_logged_names_are_shown_as_they_are(
    of_two_outputs: Callable[[str], tuple[Path, Path]], tmp_path: Path, root: Path
) -> None:
    name, shown = NAMES["a code of the terminal's"]
    model, _ = of_two_outputs(name)
    words = ["search", model, "--sparsity", "0.5", "--data", "none", "-o", tmp_path / "plan.json", "-v"]
    ran = subprocess.run(
        [sys.executable, "-m", "domino_onnx", *map(str, words)],
        capture_output=True, text=True, cwd=root, timeout=100, check=True,
    )  # fmt: skip
    assert shown in ran.stderr
    assert "\x1b" not in ran.stderr


def test_every_console_is_the_plain_one() -> None:
    package = Path(domino_onnx.__file__).parent
    others = [path for path in package.rglob("*.py") if re.search(r"\bConsole\(", path.read_text(encoding="utf-8"))]
    assert not others

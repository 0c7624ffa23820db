"""Messages that the program has for its command line, as Python hears them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import domino_onnx
from domino_onnx.api.words import in_python, placed

ROOMS = Path(domino_onnx.__file__).parent
FOREIGN = {"--reflink", "--nproc-per-node", "--sparsity=enable"}
"""Options of other programs."""


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("finetuning needs data: give --data", "finetuning needs data: give data"),
        ("--eval-data FILE says how much", "eval_data says how much"),
        ("--report FILE.html lists every weight", "to_html() lists every weight"),
        ("learn from --data. More help", "learn from data. More help"),
        ("mend them, or give --data none", 'mend them, or give data="none"'),
        ("--device cuda: no GPU", 'device="cuda": no GPU'),
        ("give another name, or --force to replace it", "give another name, or force=True to replace it"),
        ("say --batch-axis mask=none", "say batch_axes={\"mask\": \"none\"}"),
        ("give --input-shape x:SIZES or --data", "give input_shapes={\"x\": SIZES} or data"),
        ("give --data, or search.strategy = 'domino'", "give data, or strategy='domino'"),
        ("data.drawn = 0 in a recipe leaves drawn ones out", "drawn=0 leaves drawn ones out"),
        ("a lower finetune.lr in a recipe may do better", "a lower finetune_lr may do better"),
        ("with `domino-onnx convert MODEL --format dense`", 'with `domino_onnx.convert(MODEL, format="dense")`'),
        ("domino-onnx evaluate a/b.onnx '<result>' --data FILE", 'domino_onnx.evaluate("a/b.onnx", result, data=...)'),
        ("domino-onnx benchmark '<result.deployed>'", "domino_onnx.benchmark(result.deployed)"),
        ("domino-onnx inspect says why", "domino_onnx.inspect says why"),
        ("copy the file (cp --reflink=never)", "copy the file (cp --reflink=never)"),
        ("the weight 'a--b' is odd", "the weight 'a--b' is odd"),
    ],
)  # fmt: skip
def test_options_become_keywords(said: str, heard: str) -> None:
    assert in_python(said) == heard


def test_no_message_of_the_library_has_an_option_that_stays_one() -> None:
    """All text below the command line that isn't a docstring."""
    left = []
    for file in ROOMS.rglob("*.py"):
        if file.relative_to(ROOMS).parts[0] in ("cli", "api"):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                heard = in_python(node.value)
                left += [f"{file}: {heard}" for option in re.findall(r"(?<![\w-])--[a-z][\w=-]*", heard)
                         if not option.startswith(tuple(FOREIGN))]  # fmt: skip
    assert left == []


def test_paths_that_were_never_given_have_names() -> None:
    places = {Path("/tmp/x/data.npz"): "data", Path("/tmp/x"): "folder"}
    assert in_python("/tmp/x/data.npz: no", places) == "data: no"
    assert placed({"data": "/tmp/x/data.npz", "warnings": ["give --data"], "n": [1]}, places) == {
        "data": "<data>", "warnings": ["give data"], "n": [1],
    }  # fmt: skip

"""Counts in messages, and that no message leaves the plural to its reader."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from domino_onnx.plurals import quantity


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0, "image"), "0 images"),
        ((1, "image"), "1 image"),
        ((2000, "labelled sample"), "2,000 labelled samples"),
        ((1, "axis", "axes"), "1 axis"),
        ((4, "axis", "axes"), "4 axes"),
    ],
)
def test_one_thing_is_no_plural(given: tuple[int, str], said: str) -> None:
    assert quantity(*given) == said


def test_no_message_leaves_the_plural_open(root: Path) -> None:
    files = (*(root / "domino_onnx").rglob("*.py"), *(root / "kernels/domino_onnx_kernels").rglob("*.py"))
    literals = (
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert not [text for text in literals if re.search(r"\w\(e?s\)", text)]

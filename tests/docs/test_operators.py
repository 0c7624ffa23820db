"""docs/operators.md says what the bridge's table says."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import onnx
import pytest

pytest.importorskip("torch")

from domino_onnx.bridge.missing import LATEST_OPSET

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_script_writes() -> None:
    if onnx.defs.onnx_opset_version() != LATEST_OPSET:
        pytest.skip(f"the page is written with the definitions of opset {LATEST_OPSET}")
    loader = importlib.machinery.SourceFileLoader("operators", str(ROOT / "scripts" / "operators"))
    spec = importlib.util.spec_from_loader("operators", loader)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    loader.exec_module(script)
    assert script.page() == (ROOT / "docs" / "operators.md").read_text(encoding="utf-8"), "run scripts/operators"

"""docs/options.md says what the option groups say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    """scripts/options as a module."""
    loader = importlib.machinery.SourceFileLoader("options", str(ROOT / "scripts" / "options"))
    spec = importlib.util.spec_from_loader("options", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes(script: Any) -> None:
    assert script.page() == (ROOT / "docs" / "options.md").read_text(encoding="utf-8"), "run scripts/options"


def test_a_row_has_option_default_choices_and_range(script: Any) -> None:
    rows = {row.split("`")[1]: row for row in script.page().splitlines() if row.startswith("| `")}
    assert "`--max-drop`" in rows["max_drop"]
    assert rows["max_drop"].endswith("At least 0 and at most 1. |")
    assert "| `32` |" in rows["batch_size"]
    assert rows["runtime"].endswith("One of `generic`, `tensorrt`. |")
    assert "`--finetune`, `--no-finetune`" in rows["enabled"]

"""Models of many exporters and test suites: what the bridge can build agrees with ONNX Runtime."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.shared

SHARED = Path(os.environ.get("DOMINO_ONNX_SHARED", "/nonexistent"))
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = [path for folder in ("corpus", "models") for path in sorted((SHARED / folder).glob("*.onnx"))]


@pytest.fixture(scope="module")
def converting() -> ModuleType:
    """What benchmarks/bridge.py asks of each model; the benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("converting", BENCHMARKS / "converting.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["converting"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_corpus_is_there(shared: Path) -> None:
    assert any((shared / "corpus").glob("*.onnx"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_model(path: Path, converting: ModuleType) -> None:
    found = converting.convert(path)
    if found.outcome in ("no weights", "refused", "missing"):
        pytest.skip(f"{found.outcome}: {', '.join(found.why)}")
    assert found.outcome == "reproduced", found.why

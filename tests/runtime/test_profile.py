"""A model under the profiler, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from domino_onnx.errors import ModelError
from domino_onnx.runtime import profiled


@pytest.fixture
def model(make_model: Callable[..., object], save: Callable[..., Path]) -> Path:
    """Two inputs with names that NumPy has for parameters and arrays of its own."""
    nodes = [helper.make_node("Sub", ["file", "arr_0"], ["y"])]
    return save(make_model(nodes, {"arr_0": (1,), "file": (3,)}, {"y": (3,)}, {}))


def test_inputs_may_have_any_names(model: Path) -> None:
    profile = profiled(model, {"file": np.ones(3, np.float32), "arr_0": np.ones(1, np.float32)}, 1)
    assert [(each.op, each.nodes) for each in profile.operators] == [("Sub", 1)]


def test_the_process_finds_the_packages_of_this_one(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('of this path')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="of this path"):
        profiled(model, {"file": np.ones(3, np.float32), "arr_0": np.ones(1, np.float32)}, 1)

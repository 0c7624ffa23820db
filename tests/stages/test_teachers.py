"""The dense model of a pruned file is found by its hash, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.errors import PlanError
from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, FinetuneOptions, Goal
from domino_onnx.pipeline import compress
from domino_onnx.stages import teacher_beside


@pytest.fixture
def pruned(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> Path:
    """A pruned file next to its dense one, and next to another model."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    for name, seed in (("a.onnx", 1), ("z.onnx", 0)):
        weight = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
        dense = save(make_model([node], {"x": (1, 16)}, {"y": (1, 16)}, {"w": weight}), name)
    options = CompressOptions(goal=Goal(sparsity=0.5), data=DataOptions(calibration=NO_DATA),
                              finetune=FinetuneOptions(enabled=False))  # fmt: skip
    return compress(dense, dense.with_name("pruned.onnx"), options).output


def test_it_is_found_among_others(pruned: Path) -> None:
    assert teacher_beside(pruned) == pruned.with_name("z.onnx")
    pruned.with_name("z.onnx").rename(pruned.with_name("b.onnx"))
    assert teacher_beside(pruned) == pruned.with_name("b.onnx")


def test_where_it_is_not_the_error_says_what_to_give(pruned: Path, domino: Callable[..., Any]) -> None:
    pruned.with_name("z.onnx").unlink()
    with pytest.raises(PlanError, match=r"is not among the 1 other \.onnx file in its folder: give --teacher FILE"):
        teacher_beside(pruned)
    ran = domino("finetune", pruned, "--data", "x.npz")
    assert (ran.code, "give --teacher FILE" in ran.err) == (1, True)
    with pytest.raises(PlanError, match="no domino-onnx manifest"):
        teacher_beside(pruned.with_name("a.onnx"))


def test_a_dense_file_is_refused_before_samples_are_drawn(pruned: Path, domino: Callable[..., Any]) -> None:
    dense = pruned.with_name("z.onnx")
    ran = domino("finetune", dense, "--teacher", dense)
    assert ran.code == 1
    assert f"{dense} has no domino-onnx manifest" in " ".join(ran.err.split())
    assert "drawn" not in ran.err

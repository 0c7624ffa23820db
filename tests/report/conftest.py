"""A run whose result the tests of reports show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress
from domino_onnx.report.results import CompressResult
from domino_onnx.scheme import NMScheme

OPTIONS = CompressOptions(
    goal=Goal(scheme=NMScheme(2, 4)),
    data=DataOptions(calibration=NO_DATA),
    finetune=FinetuneOptions(enabled=False),
    run=RunOptions(threads=1),
)


@pytest.fixture(scope="package")
def products(make_model: Callable[..., ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty products, one behind the other."""
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"product{i}") for i in range(20)]
    generator = np.random.default_rng(0)
    arrays = {f"w{i}": generator.standard_normal((32, 32)).astype(np.float32) for i in range(20)}
    path = tmp_path_factory.mktemp("summary") / "model.onnx"
    path.write_bytes(make_model(nodes, {"x0": (1, 32)}, {"x20": (1, 32)}, arrays).SerializeToString())
    return path


@pytest.fixture(scope="package")
def result(products: Path) -> CompressResult:
    return compress(products, products.with_name("out.onnx"), OPTIONS)

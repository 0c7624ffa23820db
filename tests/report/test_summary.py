"""The closing summary: sizes that were measured, many weights folded, and the next command."""

from __future__ import annotations

import dataclasses
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper
from rich.console import Console

from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress, convert
from domino_onnx.report.compressed import compress_view
from domino_onnx.report.results import CompressResult
from domino_onnx.scheme import NMScheme

OPTIONS = CompressOptions(
    goal=Goal(scheme=NMScheme(2, 4)),
    data=DataOptions(calibration=NO_DATA),
    finetune=FinetuneOptions(enabled=False),
    run=RunOptions(threads=1),
)


@pytest.fixture(scope="module")
def model(make_model: Callable[..., ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty products, one behind the other."""
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"product{i}") for i in range(20)]
    generator = np.random.default_rng(0)
    arrays = {f"w{i}": generator.standard_normal((32, 32)).astype(np.float32) for i in range(20)}
    path = tmp_path_factory.mktemp("summary") / "model.onnx"
    path.write_bytes(make_model(nodes, {"x0": (1, 32)}, {"x20": (1, 32)}, arrays).SerializeToString())
    return path


@pytest.fixture(scope="module")
def result(model: Path) -> CompressResult:
    return compress(model, model.with_name("out.onnx"), OPTIONS)


def shown(result: CompressResult) -> str:
    """What the terminal shows."""
    stream = io.StringIO()
    Console(width=150, file=stream).print(compress_view(result))
    return stream.getvalue()


def test_sizes_are_those_of_files(result: CompressResult, model: Path, tmp_path: Path) -> None:
    sizes = result.sizes
    assert sizes is not None
    assert (sizes.before, sizes.after) == (model.stat().st_size, result.output.stat().st_size)
    assert sizes.before_gzipped == len(gzip.compress(model.read_bytes(), mtime=0))
    assert sizes.after_gzipped == len(gzip.compress(result.output.read_bytes(), mtime=0))
    convert(result.output, tmp_path / "packed.onnx", "packed")
    assert sizes.packed == (tmp_path / "packed.onnx").stat().st_size


def test_many_weights_are_folded_by_scheme(result: CompressResult) -> None:
    text = shown(result)
    assert "--report FILE.html lists every weight" in text
    row = next(line for line in text.splitlines() if line.startswith("2:4 "))
    assert row.split()[2:5] == ["20", "20.5", "k"]


def test_few_weights_are_listed_one_by_one(result: CompressResult) -> None:
    few = result.weights[0], dataclasses.replace(result.weights[1], scheme=NMScheme(1, 4))
    text = shown(dataclasses.replace(result, weights=few))
    assert "--report" not in text
    assert "w0 (product0)" in text


def test_the_weights_that_lost_most_are_named(result: CompressResult) -> None:
    assert "lost most" not in shown(result)
    weights = tuple(dataclasses.replace(record, error=number / 100) for number, record in enumerate(result.weights))
    text = shown(dataclasses.replace(result, weights=weights))
    assert "product19 19.0 %, product18 18.0 %, product17 17.0 %" in text


@pytest.mark.parametrize(
    ("changed", "command"),
    [
        ({}, "evaluate MODEL OUTPUT --data FILE"),
        ({"plan": {"target": "tensorrt"}}, "doctor OUTPUT"),
        ({"drawn": ("x: a table",), "plan": {"target": "tensorrt"}}, "evaluate MODEL OUTPUT --data FILE"),
    ],
)
def test_the_next_command_judges_first(changed: dict[str, Any], command: str, result: CompressResult) -> None:
    plan = dataclasses.replace(result.plan, **changed.pop("plan", {}))
    text = "".join(shown(dataclasses.replace(result, plan=plan, **changed)).split("next")[1].split("\n"))
    wanted = command.replace("MODEL", str(result.model)).replace("OUTPUT", str(result.output))
    assert " ".join(text.split()).replace(" ", "") == f"domino-onnx{wanted}".replace(" ", "")

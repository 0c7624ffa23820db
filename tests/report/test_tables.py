"""Tables at any width of the terminal: names may give way, figures never do."""

from __future__ import annotations

import dataclasses
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper
from rich.console import RenderableType

from domino_onnx.outputs import Comparison, CustomScores
from domino_onnx.pipeline import compress, convert, doctor, inspect, verify
from domino_onnx.report.compressed import compress_view
from domino_onnx.report.console import PlainConsole
from domino_onnx.report.converted import convert_view
from domino_onnx.report.doctor import doctor_view
from domino_onnx.report.inspected import inspect_view
from domino_onnx.report.results import BenchmarkResult, BenchmarkRow, CompressResult, Trial
from domino_onnx.report.speed import benchmark_view
from domino_onnx.report.sweep import trials_table
from domino_onnx.report.verified import verify_view
from domino_onnx.scheme import Budget, NMScheme
from tests.report.conftest import OPTIONS

LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture(scope="module")
def long_names(make_model: Callable[..., ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty products with names of fifty letters, of ever other sizes."""
    names = [f"model/encoder/{letter * 20}/attention/values" for letter in LETTERS]
    sizes = [16 * (1 + place) for place in range(21)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"weight_{i}"], [f"x{i + 1}"], name=names[i]) for i in range(20)]
    generator = np.random.default_rng(0)
    arrays = {f"weight_{i}": generator.standard_normal((sizes[i], sizes[i + 1])).astype(np.float32) for i in range(20)}
    path = tmp_path_factory.mktemp("long") / "model.onnx"
    path.write_bytes(make_model(nodes, {"x0": (1, sizes[0])}, {"x20": (1, sizes[20])}, arrays).SerializeToString())
    return path


@pytest.fixture(scope="module")
def compressed(long_names: Path) -> CompressResult:
    return compress(long_names, long_names.with_name("out.onnx"), OPTIONS)


def shown(view: RenderableType, width: int) -> str:
    stream = io.StringIO()
    PlainConsole(width=width, file=stream).print(view)
    return stream.getvalue()


def figures(text: str) -> Counter[str]:
    """Every shape and every number with a unit, decimals or thousands; lines of prose may end between the two."""
    numbers = r"\b\d+x\d+\b|\b\d+(?:\.\d+)? [kM]\b|\b\d+\.\d+ %|\b\d+\.\d+\b|\b\d{1,3}(?:,\d{3})+\b"
    return Counter(re.findall(numbers, " ".join(text.split())))


def kept(view: RenderableType, width: int) -> bool:
    """Whether a narrow terminal shows each figure of a very wide one, as often and no other; and every line whole."""
    narrow = shown(view, width)
    return figures(narrow) == figures(shown(view, 1000)) and max(map(len, narrow.splitlines())) <= width


WIDTHS = pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])


@WIDTHS
def test_a_folded_summary_keeps_its_figures(compressed: CompressResult, width: int) -> None:
    schemes = [NMScheme(1, 4), NMScheme(2, 4), NMScheme(4, 4)]
    weights = tuple(
        dataclasses.replace(record, scheme=schemes[place % 3], name=record.name + "/" + "z" * 40)
        for place, record in enumerate(compressed.weights)
    )
    view = compress_view(dataclasses.replace(compressed, weights=weights))
    params = [sum(record.params for record in weights[place::3]) for place in range(3)]
    text = " ".join(shown(view, width).partition("lists every weight")[0].split())
    for sum_ in params:
        assert f"{sum_ / 1e3:.3g} k" in text
    for scheme in ("dense", "2:4", "1:4"):
        assert re.search(rf"\b{scheme}\b", text)
    assert max(map(len, shown(view, width).splitlines())) <= width


@WIDTHS
def test_the_rows_of_weights_keep_their_figures(compressed: CompressResult, width: int) -> None:
    rows = compressed.weights[:1] + tuple(
        dataclasses.replace(record, scheme=NMScheme(1, 4)) for record in compressed.weights[-15:]
    )
    text = " ".join(shown(compress_view(dataclasses.replace(compressed, weights=rows)), width).split())
    for record in rows:
        assert "x".join(map(str, record.shape)) in text
        assert f"{record.params / 1e3:.3g} k" in text or record.params < 1000


@WIDTHS
@pytest.mark.parametrize("command", ["inspect", "doctor", "verify", "convert"])
def test_every_table_keeps_its_figures(
    command: str, compressed: CompressResult, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = Path("o.onnx")
    short.write_bytes(compressed.output.read_bytes())
    views: dict[str, Callable[[], RenderableType]] = {
        "inspect": lambda: inspect_view(dataclasses.replace(inspect(short), forecast=None)),
        "doctor": lambda: doctor_view(doctor(short)),
        "verify": lambda: verify_view(verify(short)),
        "convert": lambda: convert_view(convert(short, Path("p.onnx"), "packed")),
    }
    assert kept(views[command](), width)


@WIDTHS
def test_plans_that_were_tried_keep_their_figures(compressed: CompressResult, width: int) -> None:
    scores = CustomScores(name="mean_average_precision_of_the_boxes", reference=0.9125, candidate=0.8875)
    trial = Trial(
        budget=Budget(measure="params", reduction=0.5),
        planned_sparsity=0.5123,
        planned_flops_saved=0.4876,
        divergence=None,
        comparison=Comparison(samples=9, outputs=(), custom=scores),
        bytes=12_345_678,
        bytes_gzipped=8_765_432,
        plan=compressed.plan,
    )
    assert kept(trials_table([trial, trial]), width)


@WIDTHS
@pytest.mark.parametrize("name", ["a.onnx", "a_model_with_a_very_long_name_in_a_folder.onnx"])
def test_times_keep_their_figures(width: int, name: str) -> None:
    row = BenchmarkRow(
        model=Path(name), threads=16, batch=128, median=0.1234, low=0.1111, high=0.2222, load=1.234, rounds=100,
        speedup=12.34, profile=None,
    )  # fmt: skip
    assert kept(benchmark_view(BenchmarkResult(rows=(row, row), warnings=())), width)

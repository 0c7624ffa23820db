"""The file for the CPU is told of in the summary, in the page and in the JSON."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from domino_onnx.report.compressed import compress_view
from domino_onnx.report.compressed_document import compress_document
from domino_onnx.report.next_steps import next_steps
from domino_onnx.report.page import compress_page
from domino_onnx.report.results import BenchmarkResult, BenchmarkRow, CompressResult, DeployedLayer, DeployResult
from domino_onnx.report.speed import benchmark_view, deploy_document, deploy_summary, deploy_view
from domino_onnx.runtime import Profile

LAYER = DeployedLayer(
    name="conv7",
    op="Conv",
    shape=(64, 64, 3, 3),
    zeros=0.875,
    skips=True,
    seconds={"dense": 0.000200, "float32": 0.000111},
    chosen="float32",
    reason="1.80 times as fast",
)


@pytest.fixture
def told(result: CompressResult) -> CompressResult:
    second = DeployResult(
        model=result.output,
        output=Path("model.sparse.cpu.onnx"),
        threads=1,
        precision="auto",
        layers=(LAYER,),
        kept=(("conv0", "Conv", "its input has 3 channels"),),
        dense=0.00126,
        deployed=0.00070,
        error=2e-7,
        error_of_read=None,
        divergence=None,
        judges=0,
        activations=0,
        attentions=0,
        bits="8 bits: not tried, since there are no data",
        nbytes=216_000,
        warnings=(),
    )
    return dataclasses.replace(result, deployed=second)


def test_the_summary_tells_speed_and_size(told: CompressResult) -> None:
    stream = io.StringIO()
    Console(width=400, file=stream).print(compress_view(told))
    (line,) = (line for line in stream.getvalue().splitlines() if line.startswith("deployed"))
    assert "model.sparse.cpu.onnx: 1 of 2 products skip zeros; 1.260 → 0.700 ms a run (1.80x, 1 thread)" in line
    assert "0.22 MB" in line


def test_the_page_tells_speed_size_and_layers(told: CompressResult) -> None:
    page = compress_page(told).replace("\N{NO-BREAK SPACE}", " ")
    assert "model.sparse.cpu.onnx runs 1.80 times as fast on this CPU, and takes 0.22 MB." in page
    assert "1.260 → 0.700 ms" in page
    assert "1 of 2 products skip zeros" in page
    for cell in ("conv7", "64x64x3x3", "88 %", "0.200", "0.111", "conv0", "its input has 3 channels"):
        assert f">{cell}<" in page


def test_quantised_layers_have_their_time_in_8_bits(told: CompressResult) -> None:
    assert told.deployed is not None
    layer = dataclasses.replace(LAYER, seconds={"dense": 0.0003, "quantized": 0.000123}, chosen="quantized")
    deployed = dataclasses.replace(told.deployed, layers=(layer,))
    assert layer.times == (0.0003, None, 0.000123)
    assert ">0.123<" in compress_page(dataclasses.replace(told, deployed=deployed))
    stream = io.StringIO()
    Console(width=400, file=stream).print(deploy_view(deployed))
    (row,) = (line for line in stream.getvalue().splitlines() if line.startswith("conv7"))
    assert row.split("%")[1].split()[:3] == ["0.300", "0.123", "quantized"]


def test_long_names_of_layers_are_whole(told: CompressResult) -> None:
    """Above their rows, whose figures stay under their titles."""
    assert told.deployed is not None
    long = "/encoder/layer.0/attention/self/query/MatMul/" + "x" * 60
    slow = dataclasses.replace(LAYER, op="MatMul", seconds={"dense": 0.0123, "float32": 0.00111}, chosen="dense")
    layers = (dataclasses.replace(LAYER, name=long), dataclasses.replace(slow, name="short"))
    stream = io.StringIO()
    Console(width=120, file=stream).print(deploy_view(dataclasses.replace(told.deployed, layers=layers)))
    head, first, one, second, two = (line.rstrip() for line in stream.getvalue().splitlines()[:5])
    assert (first, second) == (long, "short")
    for title, figures in (("dense ms", ("0.200", "12.3")), ("float32 ms", ("0.111", "1.110"))):
        end = head.index(title) + len(title)
        assert [line[:end].split()[-1] for line in (one, two)] == list(figures)


def test_a_quantised_file_tells_what_its_outputs_are_compared_with(told: CompressResult) -> None:
    assert told.deployed is not None
    both = dataclasses.replace(told, deployed=dataclasses.replace(told.deployed, error=0.004, error_of_read=0.12))
    stream = io.StringIO()
    Console(width=400, file=stream).print(deploy_view(both.deployed), compress_view(both))  # type: ignore[arg-type]
    said = "a run of the file without optimisation; ONNX Runtime's optimised run of it is within 1.2e-01 of their scale"
    assert stream.getvalue().count(f"outputs are compared with {said}") == 2
    assert stream.getvalue().count("outputs within 4.0e-03 of their scale") == 2
    assert f" Outputs are compared with {said.replace(chr(39), '&#39;')}.</p>" in compress_page(both)
    assert "compared with" not in compress_page(told)


def test_the_page_has_no_such_part_without_it(result: CompressResult) -> None:
    assert "For the CPU" not in compress_page(result)


def test_the_document_has_all_of_it(told: CompressResult) -> None:
    deployed = compress_document(told)["deployed"]
    assert (deployed["speedup"], deployed["bytes"]) == (pytest.approx(1.8), 216_000)
    assert [layer["name"] for layer in deployed["layers"]] == ["conv7"]


def test_the_files_are_timed_next(told: CompressResult) -> None:
    commands = [step.command for step in next_steps(told)]
    assert f"domino-onnx benchmark {told.model} {told.output} model.sparse.cpu.onnx" in commands
    assert not any(command.startswith("domino-onnx deploy") for command in commands)


def test_one_other_goes_with_them(told: CompressResult) -> None:
    assert told.deployed is not None
    first = dataclasses.replace(LAYER, skips=False)
    for count, words in ((0, "skip zeros;"), (1, "and 1 other goes with them;"), (2, "and 2 others go with them;")):
        deployed = dataclasses.replace(told.deployed, layers=(*[first] * count, LAYER))
        assert words in deploy_summary(deployed)


def test_a_benchmark_names_models_wholly() -> None:
    path = Path("/a/folder/of/models/with/a/long/name/resnet20_cifar10jpg.sparse.87.5.percent.cpu.onnx")
    profile = Profile(operators=(), memory=None)
    row = BenchmarkRow(
        model=path,
        threads=1,
        batch=1,
        median=0.02,
        low=0.01,
        high=0.03,
        load=0.1,
        rounds=9,
        speedup=1.0,
        profile=profile,
    )
    stream = io.StringIO()
    Console(width=120, file=stream).print(benchmark_view(BenchmarkResult(rows=(row,), warnings=())))
    assert stream.getvalue().count(str(path)) == 2
    assert f"{path}: 1 thread, batch 1" in stream.getvalue()


def test_what_was_not_compared_has_no_figure(told: CompressResult) -> None:
    assert told.deployed is not None
    deployed = dataclasses.replace(told.deployed, error=None, error_of_read=None)
    assert "outputs not compared, since none holds a finite float" in deploy_summary(deployed)
    assert "Outputs not compared, since none" in compress_page(dataclasses.replace(told, deployed=deployed))
    assert deploy_document(deployed)["largest_error"] is None

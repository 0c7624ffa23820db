"""The closing summary: sizes that were measured, many weights folded, and the next command."""

from __future__ import annotations

import dataclasses
import gzip
import io
from pathlib import Path

import pytest

from domino_onnx.options import Goal
from domino_onnx.outputs import CustomScores
from domino_onnx.pipeline import convert
from domino_onnx.report.compressed import compress_view
from domino_onnx.report.console import PlainConsole
from domino_onnx.report.next_steps import next_steps
from domino_onnx.report.page import compress_page
from domino_onnx.report.results import CompressResult
from domino_onnx.scheme import NMScheme


def shown(result: CompressResult) -> str:
    """What the terminal shows."""
    stream = io.StringIO()
    PlainConsole(width=150, file=stream).print(compress_view(result))
    return stream.getvalue()


def test_sizes_are_those_of_files(result: CompressResult, products: Path, tmp_path: Path) -> None:
    sizes = result.sizes
    assert sizes is not None
    assert (sizes.before, sizes.after) == (products.stat().st_size, result.output.stat().st_size)
    assert sizes.before_gzipped == len(gzip.compress(products.read_bytes(), mtime=0))
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


@pytest.mark.parametrize(("was_undone", "said"), [(True, "undone after 5 steps"), (False, "no gain in 5 steps")])
def test_finetuning_that_was_undone_is_not_one_without_gain(
    result: CompressResult, was_undone: bool, said: str
) -> None:
    pytest.importorskip("torch")
    from domino_onnx.finetuning import Finetuned

    finetuned = Finetuned(
        values={}, before=1.0, after=1.0, lr=0.1, steps=5, planned=5, decided_by="options", best_step=0, history=(),
        was_undone=was_undone,
    )  # fmt: skip
    text = shown(dataclasses.replace(result, finetuned=finetuned))
    assert f"{said}, lr 0.1: the weights from before are kept" in text


def test_the_weights_that_lost_most_are_named(result: CompressResult) -> None:
    assert "lost most" not in shown(result)
    weights = tuple(dataclasses.replace(record, error=number / 100) for number, record in enumerate(result.weights))
    text = shown(dataclasses.replace(result, weights=weights))
    assert "product19 19.0 %, product18 18.0 %, product17 17.0 %" in text


def judged(
    result: CompressResult,
    inputs: str,
    *,
    seen: bool = False,
    target: str = "generic",
    packed: float = 0.5,
    drop: float = 0.0,
    allowed: float | None = None,
) -> CompressResult:
    """As if such inputs had judged the file, with this share of it left when it is packed, and as if `drop` were lost.

    That is of a metric of which the dense model has 2; `allowed` may be lost.
    """
    assert result.parity is not None
    assert result.sizes is not None
    sizes = dataclasses.replace(result.sizes, packed=round(packed * result.sizes.after))
    scores = CustomScores(name="score", reference=2.0, candidate=2.0 - drop)
    comparison = dataclasses.replace(result.parity.comparison, custom=scores)
    parity = dataclasses.replace(result.parity, inputs=inputs, comparison=comparison)
    plan = dataclasses.replace(result.plan, target=target)
    options = result.options
    if allowed is not None:
        options = dataclasses.replace(options, goal=Goal(max_drop=allowed))
    return dataclasses.replace(result, parity=parity, judge_seen=seen, plan=plan, sizes=sizes, options=options)


@pytest.mark.parametrize(
    ("inputs", "seen", "target", "commands"),
    [
        ("random", False, "generic", ["evaluate", "convert", "deploy", "verify"]),
        ("drawn", False, "generic", ["evaluate", "convert", "deploy", "verify"]),
        ("data", True, "generic", ["evaluate", "convert", "deploy", "verify"]),
        ("data", False, "generic", ["convert", "deploy", "verify"]),
        ("drawn", False, "tensorrt", ["evaluate", "doctor", "verify"]),
        ("data", False, "tensorrt", ["doctor", "verify"]),
    ],
)
def test_the_next_commands_judge_first(
    inputs: str, seen: bool, target: str, commands: list[str], result: CompressResult
) -> None:
    told = judged(result, inputs, seen=seen, target=target)
    assert [step.command.split()[1] for step in next_steps(told)] == commands


@pytest.mark.parametrize(
    ("inputs", "seen", "drop", "allowed", "commands"),
    [
        ("data", False, 0.25, None, ["sweep", "verify"]),
        ("data", True, 0.25, None, ["sweep", "evaluate", "verify"]),
        ("drawn", False, 0.25, None, ["sweep", "evaluate", "verify"]),
        ("data", False, float("inf"), None, ["sweep", "verify"]),
        ("data", False, 0.15, None, ["convert", "deploy", "verify"]),
        ("data", False, 0.25, 0.3, ["convert", "deploy", "verify"]),
        ("random", False, 0.25, None, ["evaluate", "convert", "deploy", "verify"]),
    ],
)
def test_a_spoilt_file_is_not_worth_packing(
    inputs: str, seen: bool, drop: float, allowed: float | None, commands: list[str], result: CompressResult
) -> None:
    steps = next_steps(judged(result, inputs, seen=seen, drop=drop, allowed=allowed))
    assert [step.command.split()[1] for step in steps] == commands
    assert seen == ("--eval-data" in steps[0].command)


def test_what_was_done_is_not_advised(result: CompressResult) -> None:
    packed = judged(result, "data", packed=1)
    assert [step.command.split()[1] for step in next_steps(packed)] == ["deploy", "verify"]


def test_what_half_precision_gains_nothing_by_is_not_advised(result: CompressResult) -> None:
    output = dataclasses.replace(result.options.output, precision="fp16")
    half = dataclasses.replace(result, options=dataclasses.replace(result.options, output=output))
    assert [step.command.split()[1] for step in next_steps(judged(half, "data"))] == ["convert", "verify"]


def test_the_summary_ends_with_the_first_command(result: CompressResult) -> None:
    first = f"domino-onnx evaluate {result.model} {result.output} --data FILE"
    assert next_steps(result)[0].command == first
    assert "".join(shown(result).split("next")[-1].split()) == first.replace(" ", "")
    page = compress_page(result)
    assert page.index(first) < page.index(f"domino-onnx verify {result.output}")


def test_the_time_is_that_of_the_whole_run(result: CompressResult) -> None:
    assert result.took >= sum(result.seconds.values())
    text = shown(dataclasses.replace(result, took=12.34, seconds={"read": 4.0, "write": 5.0}))
    assert "12.3 s (read 4.0, write 5.0)" in text

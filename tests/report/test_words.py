"""How figures and stages are told to people."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from domino_onnx.precision import Conversion
from domino_onnx.report.converted import convert_view
from domino_onnx.report.forecast import TITLES, clock
from domino_onnx.report.page.document import with_units
from domino_onnx.report.results import ConvertResult
from domino_onnx.report.text import in_unit, loss_in_unit, lost_in_words, score_in_words
from domino_onnx.storage import Form


@pytest.mark.parametrize(
    ("metric", "drop", "said"),
    [
        ("agreement", 0.0125, "1.25 points of agreement are lost"),
        ("agreement of y", 0.0125, "1.25 points of agreement of y are lost"),
        ("top-1", -0.0014, "0.14 points of top-1 are gained"),
        ("top-1", 0.0, "0.00 points of top-1 are lost"),
        ("top-1", -1e-9, "0.00 points of top-1 are lost"),
        ("cosine", 0.0125, "0.0125 of cosine is lost"),
        ("relative error", 0.5, "relative error is 0.5"),
        ("words_per_minute", 12.5, "12.5 of words_per_minute is lost"),
        ("top-1", math.inf, "outputs hold NaN or infinity"),
    ],
)
def test_a_loss_is_told_in_the_unit_of_its_metric(metric: str, drop: float, said: str) -> None:
    assert lost_in_words(metric, drop) == said


@pytest.mark.parametrize(
    ("metric", "score", "cell", "drop", "said"),
    [
        ("top-1", 0.985, "98.50 %", "1.50 points", "top-1 98.5 %"),
        ("cosine", 0.985, "0.9850", "0.015", "cosine 0.9850"),
        ("relative error", 0.985, "0.985", "0.015", "relative error 0.015"),
        ("map_of_boxes", 0.985, "0.985", "0.015", "map_of_boxes 0.985"),
    ],
)
def test_only_shares_are_told_in_percent(metric: str, score: float, cell: str, drop: str, said: str) -> None:
    assert (in_unit(metric, score), loss_in_unit(metric, 0.015)) == (cell, drop)
    assert score_in_words(metric, score) == said


def test_every_stage_has_a_title(root: Path) -> None:
    sources = (path.read_text(encoding="utf-8") for path in (root / "domino_onnx").rglob("*.py"))
    stages = {name for source in sources for name in re.findall(r"journal\.stage\(\"(\w+)\"", source)}
    assert len(stages) > 10
    assert stages <= set(TITLES)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("1.16 → 1.17 MB", "1.16 → 1.17~MB"),
        ("86.50 → 83.95 %", "86.50 → 83.95~%"),
        ("75.0 % of 268 k numbers take 1.2 ms", "75.0~% of 268~k numbers take 1.2~ms"),
        ("19 weights, 3 samples, 2 kernels", "19 weights, 3 samples, 2 kernels"),
    ],
)
def test_numbers_stay_with_their_units(text: str, kept: str) -> None:
    assert with_units(text) == kept.replace("~", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("form", "conversion", "said"),
    [
        ("packed", Conversion(), "out.onnx: dense → packed, 2,000 → 1,000 bytes (50.0 %)"),
        ("dense", Conversion(precision="fp16"), "out.onnx: fp16, 2,000 → 1,000 bytes (50.0 %)"),
        ("dense", Conversion(), "out.onnx: dense, 2,000 → 1,000 bytes (50.0 %)"),
    ],
)
def test_a_conversion_names_what_changed(form: Form, conversion: Conversion, said: str) -> None:
    result = ConvertResult(
        model=Path("model.onnx"),
        output=Path("out.onnx"),
        before="dense",
        form=form,
        conversion=conversion,
        bytes_before=2000,
        bytes_after=1000,
        weight_forms=(),
        warnings=(),
    )
    console = Console(width=100, file=io.StringIO())
    console.print(convert_view(result))
    assert console.file.getvalue() == f"{said}\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (185, "3:05"),
        (3725, "1:02:05"),
        (24 * 3600 - 1, "23:59:59"),
        (24 * 3600, "1 day 0 h"),
        (3495 * 3600 + 2912, "145 days 15 h"),
    ],
)
def test_a_time_of_days_is_told_in_days(seconds: float, said: str) -> None:
    assert clock(seconds) == said

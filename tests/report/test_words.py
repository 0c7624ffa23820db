"""How figures and stages are told to people."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from domino_onnx.precision import Conversion
from domino_onnx.report.converted import convert_view
from domino_onnx.report.forecast import TITLES
from domino_onnx.report.page.document import with_units
from domino_onnx.report.results import ConvertResult
from domino_onnx.report.text import lost_in_words
from domino_onnx.storage import Form


@pytest.mark.parametrize(
    ("metric", "drop", "said"),
    [
        ("agreement", 0.0125, "1.25 % of agreement is lost"),
        ("top-1", -0.0014, "0.14 % of top-1 is gained"),
        ("top-1", 0.0, "0.00 % of top-1 is lost"),
        ("top-1", -1e-9, "0.00 % of top-1 is lost"),
        ("relative error", 0.5, "50.00 % relative error is lost"),
    ],
)
def test_a_gain_is_no_negative_loss(metric: str, drop: float, said: str) -> None:
    assert lost_in_words(metric, drop) == said


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

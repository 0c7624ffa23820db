"""Names from foreign files can't steer the terminal, the HTML or the JSON."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from domino_onnx.options import CompressOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.percentage import percent
from domino_onnx.pipeline import compress, inspect, verify
from domino_onnx.report.compressed import compress_view
from domino_onnx.report.compressed_document import compress_document
from domino_onnx.report.console import PlainConsole
from domino_onnx.report.documents import dump
from domino_onnx.report.inspected import inspect_document, inspect_view
from domino_onnx.report.page import compress_page
from domino_onnx.report.results import CompressResult
from domino_onnx.report.text import millions, printable, shape
from domino_onnx.report.verified import verify_document, verify_view

EVIL = (
    "\x1b[2J\x1b]0;owned\x07<script>alert('1')</script>"
    "\nsecond line\r\u202egnp.exe\u2066[bold red]x[/]\x00\x9b31m{{7*7}}&\"'"
)


@given(st.text(max_size=200), st.integers(4, 80))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_printable_text_is_one_line_without_control_characters(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert len(shown) <= max(longest, 4)
    assert not re.search(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", re.sub("[\u2028\u2029]", "", shown)
    )
    shown.encode()


def test_ordinary_names_are_shown_as_they_are() -> None:
    for name in ("/layers.0/conv/Conv", "重み", "naïve weight", "a" * 60):
        assert printable(name) == name


@pytest.mark.parametrize("separator", ["\u2028", "\u2029"])
def test_line_separators_are_escaped(separator: str) -> None:
    assert separator not in printable(f"a{separator}b")


def test_numbers_are_read_as_people_compare_them() -> None:
    assert [millions(n) for n in (None, 0, 999, 1000, 45_600, 1_234_567, 3_000_000_000)] == [
        "-", "0", "999", "1 k", "45.6 k", "1.23 M", "3 G",
    ]  # fmt: skip
    assert (percent(0.8751), percent(0.87512, 2), percent(None)) == ("87.5 %", "87.51 %", "-")
    assert shape((64, 3, 7, 7)) == "64x3x7x7"


@pytest.fixture(scope="module")
def evil(make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in which every name is an attack."""
    nodes = [
        helper.make_node("MatMul", ["x", EVIL], ["h"], name="n" + EVIL),
        helper.make_node("Conv", ["c", "k" + EVIL], ["z" + EVIL], name="skipped" + EVIL, group=3),
    ]
    generator = np.random.default_rng(0)
    arrays = {
        EVIL: generator.standard_normal((16, 8)).astype(np.float32),
        "k" + EVIL: generator.standard_normal((3, 1, 3, 3)).astype(np.float32),
    }
    inputs = {"x": ("batch", 16), "c": ("batch", 3, 5, 5), EVIL: (16, 8)}
    path = tmp_path_factory.mktemp("evil") / "model.onnx"
    path.write_bytes(make_model(nodes, inputs, {"h": None, "z" + EVIL: None}, arrays).SerializeToString())
    return path


@pytest.fixture(scope="module")
def written(evil: Path) -> Path:
    return evil.with_name("out.onnx")


@pytest.fixture(scope="module")
def result(evil: Path, written: Path) -> CompressResult:
    options = CompressOptions(goal=Goal(sparsity=0.5), finetune=FinetuneOptions(steps=2), run=RunOptions(threads=1))
    return compress(evil, written, options)


def rendered(view: Any) -> str:
    stream = io.StringIO()
    PlainConsole(width=200, file=stream).print(view)
    return stream.getvalue()


def test_terminal_views_hold_no_control_characters(evil: Path, result: CompressResult, written: Path) -> None:
    for view in (inspect_view(inspect(evil)), compress_view(result), verify_view(verify(written))):
        text = rendered(view)
        assert "MatMul" in text or "holds" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert "\nsecond line" not in text


class Tags(HTMLParser):
    """Collects elements and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_the_html_report_runs_its_own_script_and_loads_nothing(result: CompressResult) -> None:
    html = compress_page(result)
    tags = Tags()
    tags.feed(html)
    assert "table" in tags.names
    assert not {"iframe", "img", "link", "object", "embed", "base", "form"} & set(tags.names)
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "href", "srcset")]
    assert "url(" not in html
    assert "@import" not in html
    assert "&lt;script&gt;" in html
    assert "{{7*7}}" in html


def test_the_page_explains_its_words(result: CompressResult) -> None:
    html = compress_page(result)
    assert "A scheme N:M keeps N of every M consecutive weights." in html
    assert "MACs are the multiplications" in html
    scheme = result.options.goal.scheme
    assert (f"{scheme} wherever it fits" in html) == (scheme is not None)
    assert "<td>writing</td>" in html


def test_no_other_script_may_run(result: CompressResult) -> None:
    html = compress_page(result)
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html.replace("&#39;", "'")


def test_warnings_in_the_html_report_are_neutralised(result: CompressResult) -> None:
    import dataclasses

    html = compress_page(dataclasses.replace(result, warnings=(EVIL,)))
    assert html.count("<script") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


def test_json_keeps_names_exactly_and_is_json(evil: Path, result: CompressResult, written: Path) -> None:
    document = json.loads(dump(compress_document(result)))
    assert [site["weight"] for site in document["sites"]] == [EVIL]
    assert json.loads(dump(inspect_document(inspect(evil))))["sites"][0]["weight"] == EVIL
    assert json.loads(dump(verify_document(verify(written))))["holds"] is True


def test_json_has_no_nan() -> None:
    text = dump({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"),)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}}
    assert "NaN" not in text

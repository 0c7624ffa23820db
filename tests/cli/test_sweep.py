"""What a sweep writes: plans, and a report that says how to repeat it."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_the_page_of_a_sweep_says_how_to_repeat_it(domino: Run, model: Path, data: Path, tmp_path: Path) -> None:
    page, recipe = tmp_path / "front.html", tmp_path / "recipe.json"
    words = ("--sparsity", "0.3", "--sparsity", "0.55", "--data", data)
    first = domino("sweep", model, *words, "--report", page, "--json")
    text = page.read_text(encoding="utf-8")
    said = html.unescape(re.search(r"repeat the run with <code>(.*?)</code>", text)[1])  # type: ignore[index]
    recipe.write_text(html.unescape(re.search(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)[1]))  # type: ignore[index]
    again = domino("sweep", model, *shlex.split(said.replace("FILE", str(recipe))), "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["trials"] == json.loads(first.out)["trials"]


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("report", ["plans/0.5.json", "plans/../plans/0.5.JSON"])
def test_a_report_is_none_of_the_plans(
    report: str, force: tuple[str, ...], domino: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domino_onnx.pipeline.pruning.read", lambda *_, **__: pytest.fail("it read the model"))
    plans = tmp_path / "plans"
    plans.mkdir()
    ran = domino("sweep", model, "--sparsity", "0.5", "--plans", plans, "--report", tmp_path / report, *force)
    assert ran.code == 1
    assert "is also one of the plans" in ran.err
    assert not list(plans.iterdir())

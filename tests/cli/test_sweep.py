"""What a sweep writes: plans, and a report that says how to repeat it."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

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


@pytest.fixture
def sixths(make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A model of which 5 of 6 weights can become zeros with --pool 1:6, and its data."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 12)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    np.savez(tmp_path / "sixths.npz", x=rng.standard_normal((64, 48)).astype(np.float32))
    return save(make_model([node], {"x": ["n", 48]}, {"y": ["n", 12]}, {"w": weight})), tmp_path / "sixths.npz"


def test_a_share_above_what_can_be_reached_is_left_out_before_any_trial(sixths: tuple[Path, Path], domino: Run) -> None:
    model, data = sixths
    above = 5 / 6  # the nearest double; it is written 0.8333333333333334, which is more than 5 of 6
    assert Fraction(repr(above)) > Fraction(5, 6)
    words = ("--pool", "1:6", "--sparsity", "0.5", "--sparsity", repr(above))
    ran = domino("sweep", model, "--data", data, *words, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert len(document["trials"]) == 1
    assert any("can't be reached" in warning for warning in document["warnings"])


def test_the_share_in_the_refusal_can_be_asked_for(
    make_model: Callable[..., Any], save: Callable[..., Path], domino: Run, tmp_path: Path
) -> None:
    """Of 480 weights 320 can become zeros: two thirds, which 0.6667 is above."""
    rng = np.random.default_rng(0)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = rng.standard_normal((48, 10)).astype(np.float32)
    model = save(make_model([node], {"x": ["n", 48]}, {"y": ["n", 10]}, {"w": weight}))
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((64, 48)).astype(np.float32))
    words = ("sweep", model, "--data", tmp_path / "data.npz", "--pool", "1:3", "--json")
    refused = domino(*words, "--sparsity", "0.9")
    assert refused.code != 0
    share = re.search(r"at most ([0-9.]+) is possible", refused.out)[1]  # type: ignore[index]
    assert share == "0.6666"
    assert domino(*words, "--sparsity", share).code == 0

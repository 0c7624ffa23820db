"""Recipes hold every option, from TOML and from the report of an earlier run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.errors import OptionError
from domino_onnx.options import (
    CompressOptions,
    Duration,
    FinetuneOptions,
    Goal,
    RunOptions,
    SearchOptions,
    overridden,
    read_recipe,
    recipe_document,
)
from domino_onnx.scheme import NMScheme, SchemePool

TEXT = """
[goal]
sparsity = 0.75

[data]
calibration = "calibration.npz"
input_shapes = { x = [1, 3, 224, 224] }

[target]
runtime = "tensorrt"
exclude = ["head.*"]

[search]
pool = "2:4,1:4"
strategy = "domino"

[search.domino]
vote = 0.5

[finetune]
steps = 20
lr = 1e-3

[run]
seed = 7
"""


def _written(tmp_path: Path, text: str, name: str = "recipe.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_each_table_is_a_group(tmp_path: Path) -> None:
    options = read_recipe(_written(tmp_path, TEXT))
    assert options.goal == Goal(sparsity=0.75)
    assert options.data.calibration == Path("calibration.npz")
    assert dict(options.data.input_shapes) == {"x": (1, 3, 224, 224)}
    assert (options.target.runtime, options.target.exclude) == ("tensorrt", ("head.*",))
    assert [str(scheme) for scheme in options.pool.schemes] == ["4:4", "2:4", "1:4"]
    assert (options.search.strategy, options.search.domino.vote) == ("domino", 0.5)
    assert (options.finetune.steps, options.finetune.lr, options.run.seed) == (20, 1e-3, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[finetune]\nstep = 3", "did you mean 'steps'"),
        ("[finetuning]\nsteps = 3", "did you mean 'finetune'"),
        ("[search.domino]\nvotes = 0.5", "did you mean 'vote'"),
        ("[finetune]\nsteps = 0", "at least 1"),
        ('[search]\nstrategy = "best"', "sensitivity"),
        ('[goal]\nscheme = "4:2"', "4:2"),
        ("[goal]\nsparsity = 0.5\nmax_drop = 0.1", "contradict"),
        ("goal = 3", "goal"),
        ("[goal", "TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        read_recipe(_written(tmp_path, text))
    assert "recipe.toml" in str(caught.value)


def test_a_file_that_is_missing_or_holds_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="can't read the recipe"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(OptionError, match="holds no recipe"):
        read_recipe(_written(tmp_path, "{}", "report.json"))


def test_a_report_repeats_its_run(tmp_path: Path) -> None:
    options = read_recipe(_written(tmp_path, TEXT))
    report = _written(tmp_path, json.dumps({"recipe": recipe_document(options)}), "report.json")
    assert read_recipe(report) == options


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "search.strategy": st.sampled_from(["auto", "erk", "uniform"]),
            "search.pool": st.sampled_from(
                [SchemePool.fixed_m(8), SchemePool.fixed_n(), SchemePool.single(NMScheme(3, 6))]
            ),
            "finetune.lr": st.none() | st.floats(1e-9, 1.0),
            "finetune.mix": st.booleans(),
            "goal.sparsity": st.floats(0, 0.99, exclude_min=True),
            "goal.flops_reduction": st.floats(0, 0.99, exclude_min=True),
            "target.include": st.lists(st.text(max_size=5), max_size=2).map(tuple),
            "run.checkpoint": st.none() | st.just(Path("folder")),
            "run.seed": st.integers(0, 2**31 - 1),
        },
    )
)
def test_every_recipe_survives_its_own_document(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any]
) -> None:
    options = overridden(CompressOptions(), given)
    path = tmp_path_factory.mktemp("recipe") / "report.json"
    path.write_text(json.dumps({"recipe": recipe_document(options)}), encoding="utf-8")
    assert read_recipe(path) == options


def test_a_document_names_every_field() -> None:
    """Whether a run went on from an earlier attempt is no part of what it did."""
    document = recipe_document(CompressOptions())
    for group in dataclasses.fields(CompressOptions):
        value = getattr(CompressOptions(), group.name)
        assert set(document[group.name]) == {field.name for field in dataclasses.fields(value)} - {"resume"}


def test_the_command_lines_goal_replaces_the_recipes() -> None:
    options = CompressOptions(goal=Goal(sparsity=0.5), search=SearchOptions(strategy="erk"), run=RunOptions(seed=3))
    changed = overridden(options, {"goal.max_drop": 0.01, "run.threads": 1})
    assert changed.goal == Goal(max_drop=0.01)
    assert (changed.search.strategy, changed.run.seed, changed.run.threads) == ("erk", 3, 1)


@pytest.mark.parametrize(
    ("given", "goal"),
    [
        ({"goal.scheme": None}, Goal(sparsity=0.5)),
        ({"goal.sparsity": None, "goal.plan": None}, Goal(sparsity=0.5)),
        ({"goal.scheme": NMScheme(2, 4), "goal.plan": None}, Goal(scheme=NMScheme(2, 4))),
        ({"goal.flops_reduction": 0.25, "goal.sparsity": None}, Goal(flops_reduction=0.25)),
    ],
)
def test_only_a_goal_replaces_a_goal(given: dict[str, Any], goal: Goal) -> None:
    assert overridden(CompressOptions(goal=Goal(sparsity=0.5)), given).goal == goal


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"finetune.steps": None}, (None, Duration(60))),
        ({"finetune.steps": 5}, (5, None)),
        ({"finetune.steps": 5, "finetune.time": None}, (5, None)),
        ({"finetune.steps": None, "finetune.time": Duration(90)}, (None, Duration(90))),
    ],
)
def test_only_a_length_of_finetuning_replaces_the_other(given: dict[str, Any], left: tuple[Any, Any]) -> None:
    changed = overridden(CompressOptions(finetune=FinetuneOptions(time=Duration(60))), given).finetune
    assert (changed.steps, changed.time) == left

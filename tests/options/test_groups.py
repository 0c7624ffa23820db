"""Options refuse from Python what the command line refuses, and say what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from domino_onnx.errors import BudgetError, DominoError, OptionError
from domino_onnx.options import (
    CompressOptions,
    DataOptions,
    FinetuneOptions,
    Goal,
    OutputOptions,
    RunOptions,
    SearchOptions,
    SolverOptions,
    TargetOptions,
    overridden,
)
from domino_onnx.scheme import NMScheme, SchemePool
from domino_onnx.search import DominoOptions

TWO_FOUR = NMScheme(2, 4)


@pytest.mark.parametrize(
    ("group", "field", "value", "said"),
    [
        (SearchOptions, "strategy", "xyz", "sensitivity"),
        (SolverOptions, "method", "obs", "sparsegpt"),
        (SolverOptions, "masks", "fisher", "admm"),
        (FinetuneOptions, "steps", -5, "at least 1"),
        (FinetuneOptions, "steps", 2.5, "whole number"),
        (FinetuneOptions, "steps", True, "whole number"),
        (FinetuneOptions, "label_weight", 7, "from 0 to 1"),
        (FinetuneOptions, "temperature", 0, "above 0"),
        (FinetuneOptions, "scope", "part", "blocks"),
        (OutputOptions, "precision", "bf16", "fp16"),
        (OutputOptions, "format", "sparse", "packed"),
        (RunOptions, "batch_size", 0, "at least 1"),
        (RunOptions, "seed", -1, "from 0"),
        (RunOptions, "threads", -1, "from 0 to 1024"),
        (RunOptions, "threads", 10**6, "from 0 to 1024"),
        (TargetOptions, "runtime", "openvino", "tensorrt"),
        (Goal, "max_drop", 1.5, "from 0 to 1"),
        (Goal, "sparsity", float("nan"), "finite"),
        (FinetuneOptions, "lr", float("inf"), "finite"),
    ],
)
def test_a_wrong_value_is_refused_and_the_right_ones_are_named(group: Any, field: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        group(**{field: value})
    assert field in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("field", ["sparsity", "flops_reduction"])
@pytest.mark.parametrize("value", [-0.1, 1.5, 87.5])
def test_a_budget_is_between_0_and_1(field: str, value: float) -> None:
    with pytest.raises(BudgetError, match="between 0 and 1"):
        Goal(**{field: value})


@pytest.mark.parametrize(
    "given",
    [
        {"goal.sparsity": 0.5, "goal.scheme": TWO_FOUR},
        {"goal.sparsity": 0.5, "goal.max_drop": 0.01},
        {"goal.flops_reduction": 0.5, "goal.plan": Path("plan.json")},
        {"goal.scheme": TWO_FOUR, "goal.max_drop": 0.01},
        {"goal.scheme": TWO_FOUR, "search.strategy": "domino"},
        {"goal.scheme": TWO_FOUR, "search.pool": SchemePool.single(TWO_FOUR)},
        {"target.speed_only": True, "goal.sparsity": 0.5},
        {"target.speed_only": True, "target.runtime": "generic"},
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        overridden(CompressOptions(), given)


def test_two_budgets_are_one_goal() -> None:
    goal = Goal(sparsity=0.5, flops_reduction=0.6)
    assert [(budget.measure, budget.reduction) for budget in goal.budgets] == [("params", 0.5), ("flops", 0.6)]


@pytest.mark.parametrize(("metric", "file"), [("score.py:f", "score.py"), ("score.py", "score.py")])
def test_the_file_of_a_metric_is_an_input(metric: str, file: str) -> None:
    assert CompressOptions(data=DataOptions(metric=metric)).inputs == (Path(file),)


def test_a_scheme_is_the_whole_pool() -> None:
    options = CompressOptions(goal=Goal(scheme=TWO_FOUR))
    assert [str(scheme) for scheme in options.pool.schemes] == ["4:4", "2:4"]
    assert options.search.pool is None


def test_domino_has_ranges_too() -> None:
    with pytest.raises(OptionError, match="vote"):
        CompressOptions(search=SearchOptions(domino=DominoOptions(vote=2.0)))


@pytest.mark.parametrize("group", [field.name for field in dataclasses.fields(CompressOptions)])
def test_a_group_of_another_class_is_refused(group: str) -> None:
    with pytest.raises(OptionError, match=group):
        CompressOptions(**{group: object()})


def test_every_error_of_options_ends_a_command_with_usage() -> None:
    assert OptionError.exit_code == 2
    assert issubclass(OptionError, DominoError)

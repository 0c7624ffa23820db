"""Plans as JSON that people edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import PlanError
from domino_onnx.scheme import Budget, NMScheme, Plan, WeightKey

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
keys = st.builds(WeightKey, names, st.lists(names, max_size=2).map(tuple))
schemes = st.tuples(st.integers(1, 16), st.integers(16, 32)).map(lambda pair: NMScheme(*pair))


@given(
    st.dictionaries(keys, schemes, max_size=5),
    st.lists(
        st.builds(Budget, measure=st.sampled_from(["params", "flops"]), reduction=st.floats(0, 0.999)),
        max_size=2,
        unique_by=lambda budget: budget.measure,
    ).map(tuple),
    st.integers(0, 2**31),
)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_plans_come_back_from_their_json(
    chosen: dict[WeightKey, NMScheme], budgets: tuple[Budget, ...], seed: int
) -> None:
    plan = Plan(source_sha256="ab", strategy="manual", schemes=chosen, budgets=budgets, seed=seed)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert list(again.schemes) == list(chosen)
    json.loads(plan.to_json())


def test_a_site_is_one_line_that_can_be_edited() -> None:
    plan = Plan(source_sha256="", strategy="s", schemes={WeightKey("é/w"): NMScheme(2, 4)})
    assert '  {"weight": "é/w", "scheme": "2:4"}' in plan.to_json().splitlines()


GOOD = {"domino_onnx_plan": 1, "source_sha256": "", "strategy": "manual", "sites": [{"weight": "w", "scheme": "2:4"}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sitess": []}, "unknown key 'sitess'"),
        ({"domino_onnx_plan": 2}, "version 2"),
        ({"sites": {}}, "'sites' must be a list"),
        ({"sites": [3]}, "site 1 must be a JSON object"),
        ({"sites": [{"weight": "w"}]}, "lacks the key 'scheme'"),
        ({"sites": [{"weight": "w", "scheme": "4:2"}]}, "4:2"),
        ({"sites": [{"weight": "w", "scheme": 2}]}, "'scheme' must be a str"),
        ({"sites": [{"weight": "w", "scheme": "2:4", "keep": 1}]}, "unknown key 'keep'"),
        ({"sites": [{"weight": "w", "scheme": "2:4"}] * 2}, "named twice"),
        ({"sites": [{"weight": "w", "scheme": "2:4", "scope": [1]}]}, "list of strings"),
        ({"sites": [{"weight": "w", "scheme": "2:4", "scope": "x"}]}, "'scope' must be a list"),
        ({"strategy": None}, "'strategy' must be a str"),
        ({"seed": True}, "'seed' must be a int"),
        ({"budgets": 0.5}, "the budgets must be a list"),
        ({"budgets": {"measure": "params", "reduction": 0.5}}, "the budgets must be a list"),
        ({"budgets": None}, "the budgets must be a list"),
        ({"budgets": [0.5]}, "a budget must be"),
        ({"budgets": [{"measure": "size", "reduction": 0.5}]}, '"params" or "flops"'),
        ({"budgets": [{"measure": "params", "reduction": "0.5"}]}, "0 to 1"),
        ({"budgets": [{"measure": "params", "reduction": 1.5}]}, "not between 0 and 1"),
        ({"budgets": [{"measure": [], "reduction": 0.5}]}, '"params" or "flops"'),
        ({"budgets": [{"measure": "params", "reduction": 10**400}]}, "budget"),
        ({"budgets": [{"measure": "params", "reduction": share} for share in (0.5, 0.6)]}, "of one measure"),
    ],
)
def test_what_is_wrong_in_a_plan_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as refused:
        Plan.from_json(json.dumps({**GOOD, **change}))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "[" * 100_000,
        '{"a":' * 50_000,
        "NaN",
        '{"seed": ' + "1" * 5000 + "}",
    ],
)
def test_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(text)


def test_unreadable_plan_files_are_plan_errors(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="can't read the plan"):
        Plan.load(tmp_path / "missing.json")
    with pytest.raises(PlanError, match="can't read the plan"):
        Plan.load(tmp_path)
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(PlanError, match="is no plan, which"):
        Plan.load(tmp_path / "latin.json")


def test_a_plan_cannot_be_changed_behind_its_back() -> None:
    given = {WeightKey("w"): NMScheme(2, 4)}
    plan = Plan(source_sha256="", strategy="manual", schemes=given)
    given.clear()
    assert plan.schemes == {WeightKey("w"): NMScheme(2, 4)}
    with pytest.raises(TypeError):
        plan.schemes[WeightKey("v")] = NMScheme(1, 4)  # type: ignore[index]

"""Plans as JSON that people edit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import PlanError
from domino_onnx.scheme import Budget, FrozenMapping, NMScheme, Plan, WeightKey

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
    plan = Plan(source_sha256="ab", strategy="manual", schemes=FrozenMapping(chosen), budgets=budgets, seed=seed)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert list(again.schemes) == list(chosen)
    json.loads(plan.to_json())


def test_a_site_is_one_line_that_can_be_edited() -> None:
    plan = Plan(source_sha256="", strategy="s", schemes=FrozenMapping({WeightKey("é/w"): NMScheme(2, 4)}))
    assert '  {"weight": "é/w", "scheme": "2:4"}' in plan.to_json().splitlines()


def test_the_text_is_always_the_same() -> None:
    plan = Plan(
        source_sha256="ab",
        strategy="erk",
        schemes=FrozenMapping({WeightKey("w"): NMScheme(2, 4), WeightKey("v", ("7.then",)): NMScheme(1, 16)}),
        budgets=(Budget(measure="params", reduction=0.5), Budget(measure="flops", reduction=1e-7)),
        target="tensorrt",
        seed=3,
    )
    assert (
        plan.to_json()
        == """{
 "domino_onnx_plan": 1,
 "source_sha256": "ab",
 "strategy": "erk",
 "budgets": [{"measure": "params", "reduction": 0.5}, {"measure": "flops", "reduction": 1e-07}],
 "target": "tensorrt",
 "seed": 3,
 "sites": [
  {"weight": "w", "scheme": "2:4"},
  {"weight": "v", "scope": ["7.then"], "scheme": "1:16"}
 ]
}
"""
    )


GOOD = {"domino_onnx_plan": 1, "source_sha256": "", "strategy": "manual", "sites": [{"weight": "w", "scheme": "2:4"}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sitess": []}, "unknown key 'sitess'; did you mean 'sites'? known are domino_onnx_plan, source_sha256"),
        ({"domino_onnx_plan": 2}, "the plan has the version 2, which is unknown; this program reads 1"),
        ({"sites": {}}, "'sites' is {}; it must be a list, each item keys and values (weight, scope, scheme)"),
        ({"sites": [3]}, "'sites[0]' is 3; it must be keys and values"),
        ({"sites": [{"weight": "w"}]}, "'sites[0]' lacks the key 'scheme'"),
        ({"sites": [{"weight": "w", "scheme": "4:2"}]}, "'sites[0].scheme': scheme 4:2 is impossible"),
        ({"sites": [{"weight": "w", "scheme": 2}]}, "'sites[0].scheme' is 2; it must be text"),
        ({"sites": [{"weight": "w", "scheme": "2:4", "keep": 1}]}, "unknown key 'keep' in 'sites[0]'"),
        ({"sites": [{"weight": "w", "scheme": "2:4"}] * 2}, "'sites[1]': the weight 'w' is named twice"),
        ({"sites": [{"weight": "w", "scheme": "2:4", "scope": [1]}]}, "'sites[0].scope[0]' is 1; it must be text"),
        (
            {"sites": [{"weight": "w", "scheme": "2:4", "scope": "x"}]},
            "'sites[0].scope' is 'x'; it must be a list, each item text",
        ),
        ({"strategy": None}, "'strategy' is None; it must be text"),
        ({"seed": True}, "'seed' is True; it must be a whole number"),
        ({"budgets": 0.5}, "'budgets' is 0.5; it must be a list"),
        ({"budgets": {"measure": "params", "reduction": 0.5}}, "it must be a list"),
        ({"budgets": None}, "'budgets' is None; it must be a list"),
        ({"budgets": [0.5]}, "'budgets[0]' is 0.5; it must be keys and values (measure, reduction)"),
        (
            {"budgets": [{"measure": "size", "reduction": 0.5}]},
            "'budgets[0].measure' is 'size'; it must be 'flops' or 'params'",
        ),
        (
            {"budgets": [{"measure": "params", "reduction": "0.5"}]},
            "'budgets[0].reduction' is '0.5'; it must be a number at least 0 and below 1",
        ),
        (
            {"budgets": [{"measure": "params", "reduction": 1.5}]},
            "'budgets[0].reduction' is 1.5; it must be a number at least 0 and below 1",
        ),
        (
            {"budgets": [{"measure": [], "reduction": 0.5}]},
            "'budgets[0].measure' is []; it must be 'flops' or 'params'",
        ),
        ({"budgets": [{"measure": "params", "reduction": 10**400}]}, "'budgets[0].reduction' is 1000"),
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
    plan = Plan(source_sha256="", strategy="manual", schemes=FrozenMapping(given))
    assert pickle.loads(pickle.dumps(plan)) == plan
    given.clear()
    assert plan.schemes == {WeightKey("w"): NMScheme(2, 4)}
    with pytest.raises(TypeError):
        plan.schemes[WeightKey("v")] = NMScheme(1, 4)  # type: ignore[index]

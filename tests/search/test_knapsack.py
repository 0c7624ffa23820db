"""The exact choice, against all combinations."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import BudgetError
from domino_onnx.search import choose

options = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=4)
problems = st.lists(options, min_size=1, max_size=5)


def brute_force(problem: list[list[tuple[int, int]]], limit: int) -> tuple[int, tuple[int, ...]] | None:
    """Least loss, and the first choice in order of options that has it."""
    best = None
    for chosen in itertools.product(*(range(len(site)) for site in problem)):
        cost = sum(site[option][0] for site, option in zip(problem, chosen, strict=True))
        loss = sum(site[option][1] for site, option in zip(problem, chosen, strict=True))
        if cost <= limit and (best is None or loss < best[0]):
            best = (loss, chosen)
    return best


@given(problems, st.integers(0, 250))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_no_combination_within_the_budget_loses_less(problem: list[list[tuple[int, int]]], limit: int) -> None:
    costs = [[cost for cost, _ in site] for site in problem]
    losses = [[float(loss) for _, loss in site] for site in problem]
    best = brute_force(problem, limit)
    if best is None:
        with pytest.raises(BudgetError):
            choose(costs, losses, limit)
        return
    chosen = choose(costs, losses, limit)
    assert sum(site[option] for site, option in zip(costs, chosen, strict=True)) <= limit
    assert sum(site[option] for site, option in zip(losses, chosen, strict=True)) == best[0]


@given(problems, st.integers(0, 250))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_huge_costs_keep_the_budget_and_lose_a_unit_a_site_at_most(
    problem: list[list[tuple[int, int]]], limit: int
) -> None:
    """Costs in the billions with no common divisor: above 2^19 units they are rounded."""
    scale = 99_999_989
    costs = [[cost * scale + index for index, (cost, _) in enumerate(site)] for site in problem]
    losses = [[float(loss) for _, loss in site] for site in problem]
    exact = [
        [(cost, loss) for cost, (_, loss) in zip(site, pairs, strict=True)]
        for site, pairs in zip(costs, problem, strict=True)
    ]
    if sum(min(site) for site in costs) > limit * scale:
        with pytest.raises(BudgetError):
            choose(costs, losses, limit * scale)
        return
    chosen = choose(costs, losses, limit * scale)
    assert sum(site[option] for site, option in zip(costs, chosen, strict=True)) <= limit * scale
    unit = -(-limit * scale // (1 << 19))
    tighter = brute_force(exact, limit * scale - unit * (len(problem) + 1))
    if tighter is not None:
        assert sum(site[option] for site, option in zip(losses, chosen, strict=True)) <= tighter[0]


def test_of_equal_choices_the_earliest_option_of_a_site_wins() -> None:
    assert choose([[3, 3, 3]], [[1.0, 1.0, 1.0]], 3) == [0]


def test_a_budget_met_exactly_is_met() -> None:
    assert choose([[10, 5], [10, 5]], [[0.0, 1.0], [0.0, 3.0]], 15) == [1, 0]
    with pytest.raises(BudgetError, match=r"10.*9"):
        choose([[10, 5], [10, 5]], [[0.0, 1.0], [0.0, 3.0]], 9)


def test_nothing_to_choose_is_an_empty_choice() -> None:
    assert choose([], [], 0) == []


def test_a_site_may_have_more_options_than_a_byte_counts() -> None:
    costs = [list(range(400, 0, -1)), [3, 1]]
    losses = [[float(index) for index in range(400)], [0.0, 500.0]]
    assert choose(costs, losses, 103) == [300, 0]

"""The exact choice, against all combinations and against SciPy's integer programs."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.errors import BudgetError
from domino_onnx.search import Choice, Limit, choose

Problem = tuple[list[list[float]], list[Limit]]


def one(costs: list[list[int]], losses: list[list[float]], most: int) -> tuple[int, ...]:
    chosen = choose(losses, [Limit(name="params", costs=costs, most=most)])
    assert chosen.gap == 0.0
    return chosen.options


def spent(options: tuple[int, ...], limit: Limit) -> int:
    return sum(site[option] for site, option in zip(limit.costs, options, strict=True))


def brute_force(losses: list[list[float]], limits: list[Limit]) -> tuple[float, ...] | None:
    """The least loss within the limits, and the least costs that have it, one limit before the other."""
    best = None
    for options in itertools.product(*(range(len(site)) for site in losses)):
        costs = [spent(options, limit) for limit in limits]
        loss = sum(site[option] for site, option in zip(losses, options, strict=True))
        if loss < math.inf and all(cost <= limit.most for cost, limit in zip(costs, limits, strict=True)):
            best = min(best or (math.inf,), (loss, *costs))
    return best


@st.composite
def small_problems(draw: st.DrawFn, measures: int) -> Problem:
    """Up to five sites of up to four options: ties, losses of zero and infinity, equal and unaffordable costs."""
    cost = st.one_of(st.integers(0, 6), st.integers(0, 60), st.just(10**30))
    loss = st.one_of(st.integers(0, 4).map(float), st.floats(0, 40, width=16), st.just(math.inf))
    option = st.tuples(loss, *[cost] * measures)
    sites = draw(st.lists(st.lists(option, min_size=1, max_size=4), min_size=1, max_size=5))
    limits = [
        Limit(name=name, costs=[[option[k + 1] for option in site] for site in sites], most=draw(st.integers(0, 160)))
        for k, name in enumerate(("params", "flops")[:measures])
    ]
    return [[option[0] for option in site] for site in sites], limits


def check_against_brute_force(losses: list[list[float]], limits: list[Limit]) -> None:
    best = brute_force(losses, limits)
    if best is None:
        with pytest.raises(BudgetError):
            choose(losses, limits)
        return
    chosen = choose(losses, limits)
    assert (chosen.loss, *(spent(chosen.options, limit) for limit in limits)) == best
    assert chosen.gap == 0.0


@given(small_problems(1))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_no_combination_within_a_limit_loses_less_nor_as_much_and_costs_less(problem: Problem) -> None:
    check_against_brute_force(*problem)


@given(small_problems(2))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_no_combination_within_two_limits_loses_less_nor_as_much_and_costs_less(problem: Problem) -> None:
    check_against_brute_force(*problem)


@given(small_problems(1), st.integers(0, 160))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_costs_in_the_billions_without_a_common_divisor_are_as_exact(problem: Problem, most: int) -> None:
    losses, (limit,) = problem
    costs = [[cost * 99_999_989 + index for index, cost in enumerate(site)] for site in limit.costs]
    check_against_brute_force(losses, [Limit(name="flops", costs=costs, most=most * 99_999_989)])


def network(sites: int, options: int, seed: int) -> Problem:
    """Weights of very different sizes, at up to 3,000 positions each, that halve from option to option."""
    random = np.random.default_rng(seed)
    params = np.exp(random.uniform(math.log(1e3), math.log(1e7), sites))
    macs = params * np.exp(random.uniform(0, math.log(3e3), sites))
    growth = np.exp(random.normal(0, 1, (sites, options - 1))) * np.arange(1, options) ** 2
    losses = np.hstack([np.zeros((sites, 1)), growth.cumsum(axis=1)])
    limits = [
        Limit(name=name, costs=np.ceil(costs).astype(int).tolist(), most=int(amounts.sum() * share))
        for name, amounts, share in (("params", params, 0.2), ("flops", macs, 0.16))
        for costs in [amounts[:, None] * 0.5 ** np.arange(options)]
    ]
    return losses.tolist(), limits


def least_loss_by_scipy(losses: list[list[float]], limits: list[Limit]) -> tuple[float, float]:
    """What a mixed-integer solver finds, and its lower bound."""
    optimize = pytest.importorskip("scipy.optimize")
    sites, options = np.shape(losses)
    once = optimize.LinearConstraint(np.kron(np.eye(sites), np.ones(options)), 1, 1)
    within = [optimize.LinearConstraint(np.ravel(limit.costs) / limit.most, -np.inf, 1) for limit in limits]
    found = optimize.milp(
        np.ravel(losses),
        constraints=[once, *within],
        integrality=np.ones(sites * options),
        bounds=optimize.Bounds(0, 1),
        options={"mip_rel_gap": 1e-6, "time_limit": 60},
    )
    return found.fun, found.mip_dual_bound


@pytest.mark.parametrize("measures", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_whole_network_is_chosen_for_as_well_as_an_integer_program_does(seed: int, measures: int) -> None:
    losses, limits = network(100, 5, seed)
    chosen = choose(losses, limits[:measures])
    assert all(spent(chosen.options, limit) <= limit.most for limit in limits[:measures])
    assert chosen.gap == 0.0
    found, bound = least_loss_by_scipy(losses, limits[:measures])
    assert bound * (1 - 1e-6) <= chosen.loss <= found * (1 + 1e-6)


@pytest.mark.parametrize("measures", [1, 2])
def test_the_largest_networks_are_proven_too(measures: int) -> None:
    losses, limits = network(200, 8, 2)
    chosen = choose(losses, limits[:measures])
    assert chosen.gap == 0.0
    assert chosen == choose(losses, limits[:measures])


@pytest.mark.parametrize("measures", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_no_single_site_could_still_be_denser(seed: int, measures: int) -> None:
    losses, limits = network(30, 5, seed)
    chosen = choose(losses, limits[:measures]).options
    for site, option in enumerate(chosen):
        if option > 0:
            denser = (*chosen[:site], option - 1, *chosen[site + 1 :])
            assert any(spent(denser, limit) > limit.most for limit in limits[:measures])


@pytest.fixture
def little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for a proof ends sooner."""
    monkeypatch.setattr(sys.modules[choose.__module__], "_EFFORTS", (1 << 13, 1 << 16))


@pytest.mark.usefixtures("little_effort")
def test_nor_could_it_where_a_proof_would_take_too_long() -> None:
    """Losses that are what is saved, but for a millionth: all choices that spend the budget are nearly equal."""
    random = np.random.default_rng(0)
    params, macs = random.integers(10**8, 10**10, (2, 60))
    shares = np.linspace(1, 0.05, 8)
    limits = [
        Limit(name=name, costs=(np.outer(amounts, shares)).astype(int).tolist(), most=int(amounts.sum() * share))
        for name, amounts, share in (("params", params, 0.4), ("flops", macs, 0.38))
    ]
    noise = 1 + 1e-6 * random.random((60, 8)).cumsum(axis=1)
    chosen = choose((np.outer(params, 1 - shares) * noise).tolist(), limits)
    assert chosen.gap < 1e-4 * chosen.loss
    for site, option in enumerate(chosen.options):
        denser = (*chosen.options[:site], option - 1, *chosen.options[site + 1 :])
        assert option == 0 or any(spent(denser, limit) > limit.most for limit in limits)


@pytest.mark.usefixtures("little_effort")
def test_a_problem_too_large_to_prove_says_how_far_off_it_may_be() -> None:
    """Every site loses just what it saves, in one of two measures: a subset sum of billions, in two dimensions."""
    random = np.random.default_rng(0)
    amounts = random.integers(10**9, 10**10, (40, 2))
    losses = [[0.0, float(first)] for first, _ in amounts]
    limits = [
        Limit(name=name, costs=[[int(amount), 0] for amount in amounts[:, k]], most=int(amounts[:, k].sum() * 0.43))
        for k, name in enumerate(("params", "flops"))
    ]
    chosen = choose(losses, limits)
    assert all(spent(chosen.options, limit) <= limit.most for limit in limits)
    assert 0.0 < chosen.gap < 0.01 * chosen.loss
    _, bound = least_loss_by_scipy(losses, limits)
    assert chosen.loss - chosen.gap <= bound * (1 + 1e-6) or chosen.loss <= bound * (1 + 1e-6)


def test_of_equal_choices_the_earliest_option_of_the_largest_site_wins() -> None:
    assert one([[3, 3, 3]], [[1.0, 1.0, 1.0]], 3) == (0,)
    assert one([[4, 2], [4, 2]], [[0.0, 1.0], [0.0, 1.0]], 6) == (0, 1)
    assert one([[4, 4], [8, 8]], [[0.0, 1.0], [0.0, 1.0]], 12) == (0, 0)
    assert one([[2, 0], [2, 0, 3]], [[0.0, 1.0], [0.0, 1.0, 5.0]], 3) == (1, 0)


def test_losses_that_sum_up_alike_are_ties_whatever_their_order() -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point."""
    losses = [[0.0, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 0.1 + 0.2 + 0.3]]
    assert one([[4, 0], [4, 0], [4, 0], [11, 0]], losses, 13) == (1, 1, 1, 0)
    assert one([[4, 0], [4, 0], [4, 0], [13, 0]], losses, 13) == (0, 0, 0, 1)


def test_a_loss_out_of_all_proportion_hides_none_of_the_others() -> None:
    assert one([[2, 1, 0], [2, 1, 0]], [[0.0, 1e-6, 1e12], [0.0, 2e-6, 1e12]], 3) == (1, 0)


def test_a_limit_met_exactly_is_met() -> None:
    assert one([[10, 5], [10, 5]], [[0.0, 1.0], [0.0, 3.0]], 15) == (1, 0)
    with pytest.raises(BudgetError, match=r"10 params.*9"):
        one([[10, 5], [10, 5]], [[0.0, 1.0], [0.0, 3.0]], 9)


def test_the_limit_out_of_reach_is_named() -> None:
    costs = [[10, 5], [10, 5]]
    within, beyond = Limit(name="params", costs=costs, most=10), Limit(name="flops", costs=costs, most=9)
    with pytest.raises(BudgetError, match="10 flops"):
        choose([[0.0, 1.0]] * 2, [within, beyond])
    one_or_other = [Limit(name="params", costs=[[0, 1]], most=0), Limit(name="flops", costs=[[1, 0]], most=0)]
    with pytest.raises(BudgetError, match="params, flops"):
        choose([[0.0, 0.0]], one_or_other)
    with pytest.raises(ValueError, match="3 limits"):
        choose([[0.0, 1.0]] * 2, [within] * 3)


def test_nothing_to_choose_is_an_empty_choice() -> None:
    assert choose([], [Limit(name="params", costs=[], most=0)]) == Choice(options=(), loss=0.0, gap=0.0)


def test_without_limits_every_site_loses_least() -> None:
    assert choose([[2.0, 1.0], [0.0, 0.0]], []) == Choice(options=(1, 0), loss=1.0, gap=0.0)


def test_a_site_may_have_more_options_than_a_byte_counts() -> None:
    costs = [list(range(400, 0, -1)), [3, 1]]
    losses = [[float(index) for index in range(400)], [0.0, 500.0]]
    assert one(costs, losses, 103) == (300, 0)

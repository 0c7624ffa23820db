"""Masks that also keep at most two of each aligned four: by every rule, against every mask there is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import Inputs, Quadratic, choose_mask, keep_largest, magnitude_mask, obeys, sparsegpt, swap
from domino_onnx.solve.select import _best_exchange

Array = np.ndarray[Any, np.dtype[Any]]
SCHEMES = [NMScheme(3, 8, True), NMScheme(4, 16, True), NMScheme(5, 12, True), NMScheme(8, 16, True)]


def is_legal(mask: Array, scheme: NMScheme) -> bool:
    """Counted in loops."""
    return all(
        sum(row[start : start + scheme.m]) == scheme.n
        and all(sum(row[four : four + 4]) <= 2 for four in range(start, start + scheme.m, 4))
        for row in mask.tolist()
        for start in range(0, len(row), scheme.m)
    )


@given(data=st.data(), m=st.sampled_from([4, 8, 12]))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_no_legal_mask_keeps_more(data: st.DataObject, m: int) -> None:
    n = data.draw(st.integers(1, m // 2))
    scores = np.array(data.draw(st.lists(st.integers(0, 6), min_size=m, max_size=m)), np.float32)
    kept = keep_largest(scores[None], NMScheme(n, m, True))
    assert is_legal(kept, NMScheme(n, m, True))
    best = max(
        sum(scores[list(places)])
        for places in itertools.combinations(range(m), n)
        if all(sum(four <= place < four + 4 for place in places) <= 2 for four in range(0, m, 4))
    )
    assert scores[kept[0]].sum() == best


@given(seed=st.integers(0, 99), scheme=st.sampled_from(SCHEMES))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_a_legal_mask_stays_as_it_is_and_others_lose_little(seed: int, scheme: NMScheme) -> None:
    weight = np.random.default_rng(seed).standard_normal((6, 4 * scheme.m, 3)).astype(np.float32)
    layout = WeightLayout.conv(weight.shape)
    mask = magnitude_mask(weight, layout, scheme)
    free = magnitude_mask(weight, layout, NMScheme(scheme.n, scheme.m))
    assert is_legal(layout.to_rows(mask), scheme)
    assert obeys(weight * mask, layout, scheme)
    assert obeys(weight * free, layout, scheme) == is_legal(layout.to_rows(free), scheme)
    assert (magnitude_mask(weight * mask, layout, scheme) == mask).all()
    groups = layout.to_groups(free, 4).sum(axis=1).reshape(-1, scheme.m // 4)
    already = np.repeat((groups <= 2).all(axis=1), scheme.m).reshape(layout.rows, -1)
    assert (layout.to_rows(mask)[already] == layout.to_rows(free)[already]).all()


def test_ties_go_left() -> None:
    mask = keep_largest(np.ones((1, 8), np.float32), NMScheme(3, 8, True))
    assert mask.tolist() == [[True, True, False, False, True, False, False, False]]


def problem(rows: int, features: int, seed: int = 0) -> Quadratic:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8 * features, features)) @ (
        np.eye(features) + rng.standard_normal((features, features)) / 7
    )
    anchor = rng.standard_normal((rows, features))
    hessian = x.T @ x / len(x)
    return Quadratic(Inputs(hessian, 0.01), anchor @ hessian, anchor)


@pytest.mark.parametrize("rule", ["magnitude", "activation", "obs", "admm"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_rule_and_the_swaps_keep_it(rule: Any, scheme: NMScheme) -> None:
    given_ = problem(5, 48)
    mask = choose_mask(given_, scheme, rule)
    assert is_legal(mask, scheme)
    swapped, weights = swap(given_, mask, scheme)
    assert is_legal(swapped, scheme)
    assert (given_.loss(weights) <= given_.loss(given_.refit(mask)) + 1e-9).all()


def test_swaps_do_find_something() -> None:
    given_, scheme = problem(16, 48, seed=3), NMScheme(4, 16, True)
    mask = choose_mask(given_, scheme, "magnitude")
    swapped, _ = swap(given_, mask, scheme)
    assert (swapped != mask).any()


def test_sparsegpt_keeps_it() -> None:
    weights = sparsegpt(problem(4, 64), NMScheme(4, 16, True))
    assert is_legal(weights != 0, NMScheme(4, 16, True))


@given(seed=st.integers(0, 500), scheme=st.sampled_from([*SCHEMES, NMScheme(3, 8)]))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_the_best_exchange_is_the_best_of_all(seed: int, scheme: NMScheme) -> None:
    rng = np.random.default_rng(seed)
    mask = keep_largest(rng.random((1, scheme.m)), scheme)
    gains = np.where(mask, -np.inf, rng.random(mask.shape))
    costs = np.where(mask, rng.random(mask.shape), np.inf)
    shape = (1, 1, scheme.m)
    enters, leaves, profit = _best_exchange(gains.reshape(shape), costs.reshape(shape), mask.reshape(shape), scheme)
    best = -np.inf
    for into, out in itertools.product(np.flatnonzero(~mask[0]), np.flatnonzero(mask[0])):
        trial = mask.copy()
        trial[0, into], trial[0, out] = True, False
        if not scheme.two_of_four or is_legal(trial, scheme):
            best = max(best, gains[0, into] - costs[0, out])
    assert profit[0, 0] == best
    assert gains[0, enters[0, 0]] - costs[0, leaves[0, 0]] == best

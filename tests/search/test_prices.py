"""Lagrangian bounds, against the choices that they bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from domino_onnx.search.prices import Bounds, best_prices


@pytest.mark.parametrize("seed", range(10))
def test_no_completion_loses_less_than_the_bound_of_its_beginning(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs = random.integers(0, 50, (5, 3, 2))
    losses = random.integers(0, 50, (5, 3)).astype(float)
    spare = costs.sum(axis=(0, 1)) // 3 - 20
    bounds = Bounds.of(losses, costs, spare)
    sites = np.arange(5)
    for options in itertools.product(range(3), repeat=5):
        chosen = np.array(options)
        if (costs[sites, chosen].sum(axis=0) > spare).any():
            continue
        total = losses[sites, chosen].sum()
        for taken in range(6):
            loss = losses[sites, chosen][:taken].sum(keepdims=True).astype(np.int64)
            cost = costs[sites, chosen][:taken].sum(axis=0, keepdims=True)
            quick, sharp = bounds.quick(taken, loss, cost)[0], bounds.sharp(taken, loss, cost)[0]
            assert quick - 1e-6 <= sharp <= total + 1e-6


def test_the_best_price_is_what_the_last_unit_spent_is_worth() -> None:
    """Ten sites that save 1 to 10 losses by 4 units each: with 22 to spend, the sixth best is half affordable."""
    losses = np.array([[0.0, value] for value in range(1, 11)])
    costs = np.zeros((10, 2, 2), np.int64)
    costs[:, 0, 0] = 4
    assert best_prices(losses, costs, np.array([22, 0])) == pytest.approx([5 / 4, 0.0], abs=1e-5)

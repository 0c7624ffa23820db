"""Masks by every rule: exactly N of M, and how near the best of all masks they come."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.scheme import NMScheme
from domino_onnx.solve import Inputs, MaskRule, Quadratic, choose_mask, swap
from domino_onnx.solve.select import admm_mask, largest_of_groups, obs_mask, saliency

Array = np.ndarray[Any, np.dtype[Any]]
RULES: tuple[MaskRule, ...] = ("magnitude", "activation", "obs", "admm")


def drawn(rows: int, features: int, seed: int = 0, *, mixing: float = 1.0, damping: float = 0.01) -> Quadratic:
    """Inputs that go together, the more the greater `mixing`; the dense outputs are wanted."""
    rng = np.random.default_rng(seed)
    mixed = np.eye(features) + mixing * rng.standard_normal((features, features)) / np.sqrt(features)
    x = rng.standard_normal((8 * features, features)) @ mixed
    anchor = rng.standard_normal((rows, features))
    hessian = x.T @ x / len(x)
    return Quadratic(Inputs(hessian, damping), anchor @ hessian, anchor)


def error(problem: Quadratic, mask: Array) -> Array:
    """(rows,) What a refit on the mask loses against the dense weights: 0 or more."""
    return problem.loss(problem.refit(mask)) - problem.loss(problem.dense)


def kept(mask: Array, m: int) -> set[int]:
    return set(mask.reshape(-1, m).sum(axis=1).tolist())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "scheme", [NMScheme(1, 4), NMScheme(2, 4), NMScheme(3, 8), NMScheme(8, 16), NMScheme(16, 16), NMScheme(1, 3)]
)
def test_exactly_n_of_m(rule: MaskRule, scheme: NMScheme) -> None:
    problem = drawn(4, 48)
    mask = choose_mask(problem, scheme, rule)
    assert mask.dtype == np.bool_
    assert mask.shape == (4, 48)
    assert kept(mask, scheme.m) == {scheme.n}
    swapped, weights = swap(problem, mask, scheme)
    assert kept(swapped, scheme.m) == {scheme.n}
    assert not weights[~swapped].any()


@pytest.mark.parametrize("rule", RULES)
def test_groups_wider_than_a_block_and_features_that_fill_no_block(rule: MaskRule) -> None:
    for features, scheme in ((256 + 64, NMScheme(4, 32)), (512, NMScheme(64, 256)), (180, NMScheme(3, 12))):
        assert kept(choose_mask(drawn(3, features), scheme, rule), scheme.m) == {scheme.n}


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_inputs_of_zero(rule: MaskRule) -> None:
    nothing = Quadratic(Inputs(np.zeros((8, 8)), 0.01), np.zeros((2, 8)), np.zeros((2, 8)))
    dead = drawn(2, 8)
    dead.inputs.hessian[3], dead.inputs.hessian[:, 3] = 0, 0
    for problem in (nothing, dead.retargeted(dead.anchor @ dead.inputs.hessian, dead.anchor)):
        mask = choose_mask(problem, NMScheme(2, 4), rule)
        assert kept(mask, 4) == {2}
        assert np.isfinite(swap(problem, mask, NMScheme(2, 4))[1]).all()


@given(
    seed=st.integers(0, 10_000),
    scheme=st.sampled_from([NMScheme(1, 4), NMScheme(2, 4), NMScheme(3, 4), NMScheme(2, 8), NMScheme(4, 16)]),
    mixing=st.sampled_from([0.0, 1.0, 5.0]),
    rule=st.sampled_from(RULES),
)
@settings(deadline=None, derandomize=True, max_examples=60, database=None)
def test_a_swap_is_never_worse(seed: int, scheme: NMScheme, mixing: float, rule: MaskRule) -> None:
    problem = drawn(5, 32, seed, mixing=mixing)
    mask = choose_mask(problem, scheme, rule)
    before = mask.copy()
    swapped, weights = swap(problem, mask, scheme)
    np.testing.assert_array_equal(mask, before)
    assert kept(swapped, scheme.m) == {scheme.n}
    assert (error(problem, swapped) <= error(problem, mask) + 1e-12).all()
    np.testing.assert_allclose(weights, problem.refit(swapped), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scheme", [NMScheme(2, 4), NMScheme(1, 4), NMScheme(4, 16)])
def test_the_second_order_is_better_than_magnitudes(scheme: NMScheme) -> None:
    """In the mean over seeds, each refitted: what the rule is for."""
    errors = dict.fromkeys((*RULES, "swapped"), 0.0)
    for seed in range(10):
        problem = drawn(16, 64, seed, mixing=3.0)
        for rule in RULES:
            errors[rule] += error(problem, choose_mask(problem, scheme, rule)).sum()
        errors["swapped"] += error(problem, swap(problem, admm_mask(problem, scheme), scheme)[0]).sum()
    assert errors["obs"] < 0.9 * errors["magnitude"]
    assert errors["admm"] < errors["obs"]
    assert errors["swapped"] < errors["admm"]


def test_without_correlations_all_criteria_are_magnitude() -> None:
    """But for admm, which may stop between two weights that are nearly the same."""
    anchor = np.random.default_rng(3).standard_normal((6, 256))
    problem = Quadratic(Inputs(np.eye(256), 0.01), anchor.copy(), anchor)
    for scheme in (NMScheme(2, 4), NMScheme(1, 16)):
        expected = largest_of_groups(np.abs(anchor), scheme)
        for rule in RULES[:3]:
            np.testing.assert_array_equal(choose_mask(problem, scheme, rule), expected)
        np.testing.assert_array_equal(swap(problem, expected, scheme)[0], expected)
        assert error(problem, admm_mask(problem, scheme)).sum() < 1.005 * error(problem, expected).sum()
        np.testing.assert_array_equal(swap(problem, admm_mask(problem, scheme), scheme)[0], expected)


def test_the_saliencies() -> None:
    problem = drawn(3, 8)
    np.testing.assert_allclose(saliency(problem, "magnitude"), problem.anchor**2)
    by_input = problem.anchor**2 * np.diag(problem.inputs.hessian)
    np.testing.assert_allclose(saliency(problem, "activation"), by_input)


def obs_by_loops(problem: Quadratic, scheme: NMScheme) -> Array:
    """Optimal Brain Surgeon itself, one weight after the other, with the inverse of what is still to come."""
    mask = np.ones(problem.anchor.shape, np.bool_)
    for row, dense in enumerate(problem.dense):
        weights = dense.copy()
        for column in range(len(weights)):
            rest = slice(column, None)
            inverse = np.linalg.inv(problem.inputs.damped[rest, rest])
            if column % scheme.m == 0:
                # of the columns not yet passed, each with those to its right to make up for it
                stop = column + scheme.m
                scores = [
                    weights[place] ** 2 / np.linalg.inv(problem.inputs.damped[place:, place:])[0, 0]
                    for place in range(column, stop)
                ]
                mask[row, np.array(range(column, stop))[np.argsort(scores)[: scheme.m - scheme.n]]] = False
            if not mask[row, column]:
                weights[rest] -= weights[column] / inverse[0, 0] * inverse[0]
    return mask


def test_the_blocks_of_obs_are_a_short_cut_only() -> None:
    problem = drawn(2, 160, seed=4, mixing=2.0)
    scheme = NMScheme(2, 4)
    np.testing.assert_array_equal(obs_mask(problem, scheme), obs_by_loops(problem, scheme))


def best_of_all(problem: Quadratic, scheme: NMScheme) -> float:
    """The least error of one row over all masks."""
    groups = problem.anchor.shape[1] // scheme.m
    of_group = [
        [place in chosen for place in range(scheme.m)] for chosen in itertools.combinations(range(scheme.m), scheme.n)
    ]
    all_masks = np.array(list(itertools.product(of_group, repeat=groups))).reshape(-1, groups * scheme.m)
    part = problem.rows(np.zeros(len(all_masks), np.intp))
    return float(error(part, all_masks).min())


@pytest.mark.parametrize(("scheme", "features"), [(NMScheme(2, 4), 12), (NMScheme(1, 4), 16), (NMScheme(2, 8), 16)])
def test_how_near_the_best_of_all_masks(scheme: NMScheme, features: int) -> None:
    """In the mean over seeds: magnitude, refitted, loses several times what is needed."""
    errors = dict.fromkeys(("best", "magnitude", "admm", "swapped"), 0.0)
    for seed in range(12):
        problem = drawn(1, features, seed, mixing=3.0)
        mask = admm_mask(problem, scheme)
        errors["best"] += best_of_all(problem, scheme)
        errors["magnitude"] += float(error(problem, choose_mask(problem, scheme, "magnitude")).sum())
        errors["admm"] += float(error(problem, mask).sum())
        errors["swapped"] += float(error(problem, swap(problem, mask, scheme)[0]).sum())
    assert errors["admm"] < 1.5 * errors["best"]
    assert errors["swapped"] < 1.2 * errors["best"]
    assert errors["swapped"] <= errors["admm"]

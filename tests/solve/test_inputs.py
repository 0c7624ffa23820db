"""Inputs at few positions, against the matrix of their second moments in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.scheme import NMScheme
from domino_onnx.solve import FewInputs, Inputs, MaskRule, Quadratic, choose_mask, sparsegpt, swap

Array = np.ndarray[Any, np.dtype[Any]]
FEATURES, ROWS = 64, 6


def drawn(positions: int, *, seed: int = 0) -> tuple[Array, Array]:
    """(positions, 64) that go together, whose products add up to means; and (6, 64) weights."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((positions, 20)) @ rng.standard_normal((20, FEATURES)) + rng.standard_normal(FEATURES)
    return x / np.sqrt(positions), rng.standard_normal((ROWS, FEATURES))


def both(positions: int, damping: float = 0.01) -> tuple[FewInputs, Array, Array]:
    """The inputs, the matrix that they come to, and weights."""
    root, weights = drawn(positions)
    moments = root.T @ root
    return FewInputs(root, damping), moments + damping * np.trace(moments) / FEATURES * np.eye(FEATURES), weights


@pytest.mark.parametrize("positions", [1, 7, 31])
@pytest.mark.parametrize("damping", [0.003, 3.0])
def test_everything_that_is_asked_of_inputs(positions: int, damping: float) -> None:
    few, damped, weights = both(positions, damping)
    np.testing.assert_allclose(few.damped, damped, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(few.diagonal, np.diagonal(damped))
    np.testing.assert_allclose(few.times_damped(weights), weights @ damped, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(few.times_hessian(weights), weights @ (few.root.T @ few.root), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(few.solved(weights), weights @ np.linalg.inv(damped), rtol=1e-7, atol=1e-7)
    assert few.dampened(1.0).ridge == pytest.approx(few.ridge / damping)


@pytest.mark.parametrize("kept", [1, 4, 9, 40, 64])
def test_systems_of_supports(kept: int) -> None:
    """Below and above the number of positions: solved as they are, or by the small matrix."""
    few, damped, weights = both(9)
    support = np.sort(np.random.default_rng(1).random((ROWS, FEATURES)).argsort(axis=1)[:, :kept], axis=1)
    sides = np.take_along_axis(weights, support, 1)
    for row, (system, found) in enumerate(zip(few.systems(support), few.solved_on(support, sides), strict=True)):
        wanted = damped[np.ix_(support[row], support[row])]
        np.testing.assert_allclose(system, wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(wanted @ found, sides[row], rtol=1e-6, atol=1e-7)


def test_the_proximal_point_is_where_the_gradient_is_zero() -> None:
    few, damped, weights = both(12)
    pull, aim, penalty = weights @ damped, weights[::-1].astype(np.float32), 0.3
    for inputs in (few, Inputs(damped - few.ridge * np.eye(FEATURES), 0.01)):
        found = inputs.proximal(pull)(aim, penalty).astype(np.float64)
        gradient = found @ damped - pull + penalty * (found - aim)
        assert np.abs(gradient).max() < 1e-4 * np.abs(pull).max()


@pytest.mark.parametrize("rule", ["magnitude", "activation", "obs", "admm"])
@pytest.mark.parametrize("scheme", [NMScheme(2, 4), NMScheme(2, 16)])
def test_masks_and_refits_are_those_of_the_matrix(rule: MaskRule, scheme: NMScheme) -> None:
    few, _, weights = both(24)
    matrix = Inputs(few.root.T @ few.root, 0.01)
    ours, theirs = (Quadratic(inputs, weights @ matrix.hessian, weights) for inputs in (few, matrix))
    mask = choose_mask(theirs, scheme, rule)
    assert np.mean(choose_mask(ours, scheme, rule) == mask) > 0.97
    np.testing.assert_allclose(ours.refit(mask), theirs.refit(mask), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours._conjugate_gradients(mask, weights), ours._direct(mask), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(ours.loss(weights), theirs.loss(weights), rtol=1e-9)
    swapped, refitted = swap(ours, mask, scheme)
    assert (ours.loss(refitted) <= ours.loss(ours.refit(mask)) + 1e-9).all()
    assert (swapped.reshape(-1, scheme.m).sum(axis=1) == scheme.n).all()
    np.testing.assert_allclose(sparsegpt(ours, scheme), sparsegpt(theirs, scheme), rtol=1e-4, atol=1e-5)


def test_inputs_that_are_zero_keep_the_anchor() -> None:
    weights = drawn(3)[1]
    problem = Quadratic(FewInputs(np.zeros((3, FEATURES)), 0.01), np.zeros_like(weights), weights)
    mask = choose_mask(problem, NMScheme(2, 4), "admm")
    np.testing.assert_allclose(problem.refit(mask), np.where(mask, weights, 0))

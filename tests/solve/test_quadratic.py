"""Least squares on a support, against numpy.linalg.lstsq on the very rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.solve import Inputs, Quadratic
from domino_onnx.solve.quadratic import _supports

Array = np.ndarray[Any, np.dtype[Any]]


def drawn(features: int = 12, rows: int = 5, positions: int = 200, seed: int = 0) -> tuple[Array, Array, Array]:
    """Inputs that go together, outputs that are wanted of them with some noise, and the weights behind both."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((positions, features)) @ rng.standard_normal((features, features))
    anchor = rng.standard_normal((rows, features))
    return x, x @ anchor.T + 0.1 * rng.standard_normal((positions, rows)), anchor


def problem_of(x: Array, y: Array, anchor: Array, damping: float) -> Quadratic:
    return Quadratic(Inputs(x.T @ x / len(x), damping), y.T @ x / len(x), anchor)


def masks(rows: int, features: int, kept: int, seed: int = 1) -> Array:
    order = np.random.default_rng(seed).random((rows, features)).argsort(axis=1)
    return order < kept


def by_lstsq(x: Array, y: Array, anchor: Array, mask: Array, ridge: float) -> Array:
    """Row by row: the ridge as further equations ``sqrt(ridge) w = sqrt(ridge) anchor``."""
    weights = np.zeros(mask.shape)
    for row, kept in enumerate(mask):
        equations = np.concatenate([x[:, kept], np.sqrt(ridge * len(x)) * np.eye(kept.sum())])
        sides = np.concatenate([y[:, row], np.sqrt(ridge * len(x)) * anchor[row, kept]])
        weights[row, kept] = np.linalg.lstsq(equations, sides, rcond=None)[0]
    return weights


@pytest.mark.parametrize("kept", [1, 6, 12])
@pytest.mark.parametrize("damping", [1e-12, 0.01, 3.0])
def test_a_refit_is_least_squares(kept: int, damping: float) -> None:
    x, y, anchor = drawn()
    problem = problem_of(x, y, anchor, damping)
    mask = masks(5, 12, kept)
    weights = problem.refit(mask)
    ridge = damping * np.mean(np.sum(x**2, axis=0) / len(x))
    assert problem.inputs.ridge == pytest.approx(ridge)
    np.testing.assert_allclose(weights, by_lstsq(x, y, anchor, mask, ridge), rtol=1e-6, atol=1e-9)
    assert not weights[~mask].any()
    assert np.abs(problem.gradient(weights)[mask]).max() < 1e-9 * np.abs(problem.pull).max()


def test_no_mask_at_all_is_the_dense_solution() -> None:
    x, y, anchor = drawn()
    problem = problem_of(x, y, anchor, 0.01)
    np.testing.assert_allclose(problem.refit(np.ones((5, 12), np.bool_)), problem.dense, rtol=1e-9)


@pytest.mark.parametrize("kept", [8, 32, 60])
@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_directly_or_by_conjugate_gradients(kept: int, damping: float) -> None:
    problem = problem_of(*drawn(64, 20, 400), damping)
    mask = masks(20, 64, kept)
    direct = problem._direct(mask)
    for near in (problem.anchor, np.zeros_like(direct), direct + 0.01):
        iterative = problem._conjugate_gradients(mask, near)
        np.testing.assert_allclose(iterative, direct, rtol=1e-3, atol=1e-3 * np.abs(direct).max())
        np.testing.assert_allclose(problem.loss(iterative), problem.loss(direct), rtol=1e-6)
        assert not iterative[~mask].any()


def test_large_supports_are_solved_too() -> None:
    """Where the choice falls on conjugate gradients by itself."""
    problem = problem_of(*drawn(600, 3, 900), 0.01)
    mask = masks(3, 600, 550)
    direct = problem._direct(mask)
    for weights in (problem.refit(mask), problem.refit(mask, direct)):
        np.testing.assert_allclose(weights, direct, rtol=1e-2, atol=1e-3)
        np.testing.assert_allclose(problem.loss(weights), problem.loss(direct), rtol=1e-6)
    assert (problem.refit(mask, direct) == direct).all()  # nothing is left to do from there


def test_rows_that_are_no_matter_do_not_disturb_conjugate_gradients() -> None:
    x, y, anchor = drawn(64, 4, 400)
    anchor[0], y[:, 0] = 0, 0
    problem = problem_of(x, y, anchor, 0.01)
    mask = masks(4, 64, 32)
    weights = problem._conjugate_gradients(mask, problem.anchor)
    assert np.isfinite(weights).all()
    assert not weights[0].any()


def test_the_loss_is_the_error() -> None:
    x, y, anchor = drawn()
    problem = problem_of(x, y, anchor, 0.1)
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((2, 5, 12))

    def error(weights: Array) -> Array:
        return np.mean((y - x @ weights.T) ** 2, axis=0) + problem.inputs.ridge * np.sum(
            (weights - anchor) ** 2, axis=1
        )

    np.testing.assert_allclose(problem.loss(first) - problem.loss(second), error(first) - error(second), rtol=1e-9)


@pytest.mark.parametrize("damping", [1e-9, 0.1])
def test_removal_costs_are_what_a_new_refit_loses(damping: float) -> None:
    problem = problem_of(*drawn(), damping)
    mask = masks(5, 12, 6)
    weights = problem.refit(mask)
    costs = problem.removal_costs(mask, weights)
    assert np.isinf(costs[~mask]).all()
    for row, feature in np.argwhere(mask):
        part = problem.rows(np.array([row]))
        without = mask[row : row + 1].copy()
        without[0, feature] = False
        grown = part.loss(part.refit(without)) - part.loss(weights[row : row + 1])
        assert costs[row, feature] == pytest.approx(grown[0], rel=1e-4)


def test_rows_share_what_is_known_of_the_inputs() -> None:
    problem = problem_of(*drawn(), 0.01)
    values, _ = problem.inputs.spectrum
    part, other = problem.rows(np.array([3, 1])), problem.retargeted(problem.target * 2, problem.anchor)
    assert part.inputs.spectrum is problem.inputs.spectrum
    assert part.inputs is other.inputs is problem.inputs
    np.testing.assert_array_equal(part.dense, problem.dense[[3, 1]])
    np.testing.assert_array_equal(part.refit(masks(5, 12, 6)[[3, 1]]), problem.refit(masks(5, 12, 6))[[3, 1]])
    np.testing.assert_allclose(other.pull - problem.pull, problem.target)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(problem.inputs.damped), rtol=1e-3)


def test_inputs_that_are_zero_keep_the_anchor() -> None:
    anchor = drawn()[2]
    problem = Quadratic(Inputs(np.zeros((12, 12)), 0.01), np.zeros((5, 12)), anchor)
    mask = masks(5, 12, 6)
    np.testing.assert_allclose(problem.refit(mask), np.where(mask, anchor, 0))
    np.testing.assert_allclose(problem.dense, anchor)
    np.testing.assert_allclose(problem.removal_costs(mask, anchor)[mask], anchor[mask] ** 2)


def test_an_input_that_is_zero_keeps_its_anchor() -> None:
    x, y, anchor = drawn()
    x[:, 4] = 0
    weights = problem_of(x, y, anchor, 0.01).refit(np.ones((5, 12), np.bool_))
    np.testing.assert_allclose(weights[:, 4], anchor[:, 4])


def test_supports_come_in_slices_that_fit_into_memory() -> None:
    mask = masks(3000, 512, 256)
    slices = _supports(mask, 256**2)
    assert len(slices) > 1
    np.testing.assert_array_equal(
        np.concatenate([columns for _, columns in slices]), np.nonzero(mask)[1].reshape(3000, -1)
    )
    assert [place for rows, _ in slices for place in range(3000)[rows]] == list(range(3000))

"""The least-squares problem behind one weight: how far its outputs are from the wanted ones, as a quadratic form."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from domino_onnx.solve.inputs import FewInputs, Inputs
from domino_onnx.solve.mask import masked

__all__ = ["Quadratic"]

_Matrix = NDArray[np.floating]
_Mask = NDArray[np.bool_]
_CHUNK = 1 << 24  # elements of the stacked systems that are solved in one go
_MAX_CG_STEPS = 200
_CG_TOLERANCE = 1e-5
_CG_STEPS, _CG_STEPS_FROM_NEAR = 60, 25
"""What conjugate gradients usually take, for the choice between the two."""
_DIRECT_PRICE = 4
"""How many times longer small systems take for each operation than the large products of conjugate gradients."""


@dataclasses.dataclass(frozen=True, eq=False)
class Quadratic:
    """``mean |y - W x|^2 + ridge |W - anchor|^2``, row by row; every row of W is a problem of its own.

    Attributes
    ----------
    inputs
        The second moments of `x`, and the ridge.
    target
        (rows, features): the mean of ``y x^T``, centred as the inputs are.
    anchor
        (rows, features): the weights that damping holds on to, usually the dense ones.
    """

    inputs: Inputs | FewInputs
    target: _Matrix
    anchor: _Matrix

    @functools.cached_property
    def pull(self) -> _Matrix:
        """(rows, features): the right-hand side of the normal equations."""
        return self.target + self.inputs.ridge * self.anchor

    @functools.cached_property
    def dense(self) -> _Matrix:
        """(rows, features): the best weights without any mask."""
        return self.inputs.solved(self.pull)

    def rows(self, chosen: NDArray[np.intp]) -> Quadratic:
        """The problem of some of the rows."""
        return Quadratic(self.inputs, self.target[chosen], self.anchor[chosen])

    def retargeted(self, target: _Matrix, anchor: _Matrix) -> Quadratic:
        """The same inputs with other outputs wanted."""
        return Quadratic(self.inputs, target, anchor)

    def dampened(self, damping: float) -> Quadratic:
        """The same problem with another damping."""
        return Quadratic(self.inputs.dampened(damping), self.target, self.anchor)

    def loss(self, weights: _Matrix) -> _Matrix:
        """(rows,) The objective, but for a constant of each row."""
        toward: _Matrix = self.inputs.times_damped(weights) - 2 * self.pull
        return np.einsum("rk,rk->r", weights, toward)  # type: ignore[no-any-return]

    def gradient(self, weights: _Matrix) -> _Matrix:
        """(rows, features): half the negative gradient; zero on a refitted support."""
        return self.pull - self.inputs.times_damped(weights)

    def refit(self, mask: _Mask, near: _Matrix | None = None) -> _Matrix:
        """(rows, features): the least-squares weights on each row's support, zero elsewhere.

        Each row solves the normal equations on its own support: directly where supports are small, by conjugate
        gradients on all rows together where they are large.

        Parameters
        ----------
        near
            Weights that the result is expected to be close to, from where fewer steps lead to it.
        """
        kept = _kept(mask)
        steps = _CG_STEPS if near is None else _CG_STEPS_FROM_NEAR
        if _DIRECT_PRICE * self.inputs.solved_on_costs(kept)[0] <= steps * self.inputs.product_costs:
            return self._direct(mask)
        return self._conjugate_gradients(mask, self.anchor if near is None else near)

    def removal_costs(self, mask: _Mask, weights: _Matrix) -> _Matrix:
        """(rows, features): how much the objective grows if one kept weight goes and the others of its row adapt.

        ``w_i^2 / [(H_SS)^-1]_ii`` (Hassibi & Stork 1993, Optimal Brain Surgeon); infinite where nothing is kept.
        """
        costs = np.full(mask.shape, np.inf)
        for rows, support in _supports(mask, _kept(mask) ** 2):
            inverse = np.linalg.inv(self.inputs.rough_systems(support))
            kept = np.take_along_axis(weights[rows], support, 1)
            np.put_along_axis(costs[rows], support, kept**2 / np.diagonal(inverse, axis1=1, axis2=2), 1)
        return costs

    def _direct(self, mask: _Mask) -> _Matrix:
        weights = np.zeros(mask.shape, self.inputs.dtype)
        for rows, support in _supports(mask, self.inputs.solved_on_costs(_kept(mask))[1]):
            sides = np.take_along_axis(self.pull[rows], support, 1)
            np.put_along_axis(weights[rows], support, self.inputs.solved_on(support, sides), 1)
        return weights

    def _conjugate_gradients(self, mask: _Mask, near: _Matrix) -> _Matrix:
        """Preconditioned with the diagonal; all rows step together, each with its own length."""
        inverse = np.where(mask, 1 / self.inputs.diagonal, 0)
        weights = masked(near, mask)
        residual = masked(self.pull - self.inputs.times_damped(weights), mask)
        scaled = residual * inverse
        direction = scaled
        power = np.einsum("rk,rk->r", residual, scaled)
        enough = _CG_TOLERANCE**2 * np.einsum("rk,rk->r", self.pull, self.pull * inverse)
        for _ in range(_MAX_CG_STEPS):
            if (power <= enough).all():
                break
            image = masked(self.inputs.times_damped(direction), mask)
            curvature = np.einsum("rk,rk->r", direction, image)
            step = np.divide(power, curvature, out=np.zeros_like(power), where=curvature > 0)[:, None]
            weights = weights + step * direction
            residual = residual - step * image
            scaled = residual * inverse
            before, power = power, np.einsum("rk,rk->r", residual, scaled)
            direction = (
                scaled + np.divide(power, before, out=np.zeros_like(power), where=before > 0)[:, None] * direction
            )
        return weights


def _kept(mask: _Mask) -> int:
    """How many features a row keeps; all rows keep as many."""
    return int(mask[0].sum()) if len(mask) else 0


def _supports(mask: _Mask, held: int) -> list[tuple[slice, NDArray[np.intp]]]:
    """Rows in slices of bounded memory, with (rows, kept) the features that each keeps.

    `held` is how many numbers are held for a row.
    """
    columns = np.nonzero(mask)[1].reshape(len(mask), _kept(mask))
    size = max(1, _CHUNK // max(held, 1))
    return [(slice(start, start + size), columns[start : start + size]) for start in range(0, len(mask), size)]

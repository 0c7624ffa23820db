"""The least-squares problem behind one weight: how far its outputs are from the wanted ones, as a quadratic form."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from domino_onnx.solve.mask import masked

__all__ = ["Inputs", "Quadratic"]

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
class Inputs:
    """What a layer's inputs alone say, for all problems that share them; computed once, when it is first asked for.

    Attributes
    ----------
    hessian
        (features, features): the mean of ``x x^T``, centred where an intercept is free. Its dtype is the precision of
        all that follows: float64 to solve, float32 is enough to judge by.
    damping
        In units of the hessian's mean diagonal.
    """

    hessian: _Matrix
    damping: float

    @functools.cached_property
    def ridge(self) -> float:
        """What damping adds to the diagonal; 1 where the inputs are all zero, so that the anchor stays."""
        scale = float(np.mean(np.diagonal(self.hessian)))
        return self.damping * scale if scale > 0 else 1.0

    @functools.cached_property
    def damped(self) -> _Matrix:
        """(features, features): the hessian with the ridge."""
        return self.hessian + self.ridge * np.eye(len(self.hessian), dtype=self.hessian.dtype)

    @functools.cached_property
    def spectrum(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Eigenvalues and eigenvectors of `damped`, in the precision that choosing a mask needs."""
        values, vectors = np.linalg.eigh(self.damped.astype(np.float32))
        return np.maximum(values, np.float32(self.ridge)), vectors


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

    inputs: Inputs
    target: _Matrix
    anchor: _Matrix

    @property
    def hessian(self) -> _Matrix:
        """(features, features), as in `inputs`."""
        return self.inputs.hessian

    @property
    def damped(self) -> _Matrix:
        """(features, features), as in `inputs`."""
        return self.inputs.damped

    @functools.cached_property
    def pull(self) -> _Matrix:
        """(rows, features): the right-hand side of the normal equations."""
        return self.target + self.inputs.ridge * self.anchor

    @functools.cached_property
    def dense(self) -> _Matrix:
        """(rows, features): the best weights without any mask."""
        weights: _Matrix = np.linalg.solve(self.damped, self.pull.T).T
        return weights

    def rows(self, chosen: NDArray[np.intp]) -> Quadratic:
        """The problem of some of the rows."""
        return Quadratic(self.inputs, self.target[chosen], self.anchor[chosen])

    def retargeted(self, target: _Matrix, anchor: _Matrix) -> Quadratic:
        """The same inputs with other outputs wanted."""
        return Quadratic(self.inputs, target, anchor)

    def dampened(self, damping: float) -> Quadratic:
        """The same problem with another damping."""
        return Quadratic(Inputs(self.hessian, damping), self.target, self.anchor)

    def loss(self, weights: _Matrix) -> _Matrix:
        """(rows,) The objective, but for a constant of each row."""
        return np.einsum("rk,rk->r", weights, weights @ self.damped - 2 * self.pull)  # type: ignore[no-any-return]

    def gradient(self, weights: _Matrix) -> _Matrix:
        """(rows, features): half the negative gradient; zero on a refitted support."""
        return self.pull - weights @ self.damped

    def refit(self, mask: _Mask, near: _Matrix | None = None) -> _Matrix:
        """(rows, features): the least-squares weights on each row's support, zero elsewhere.

        Each row solves the normal equations on its own support: directly where supports are small, by conjugate
        gradients on all rows together where they are large.

        Parameters
        ----------
        near
            Weights that the result is expected to be close to, from where fewer steps lead to it.
        """
        kept = int(mask.sum(axis=1).max(initial=0))
        direct = _DIRECT_PRICE * kept**3 * len(mask) * 2 / 3
        iterative = (_CG_STEPS if near is None else _CG_STEPS_FROM_NEAR) * 2.0 * mask.size * mask.shape[1]
        if direct <= iterative:
            return self._direct(mask)
        return self._conjugate_gradients(mask, self.anchor if near is None else near)

    def removal_costs(self, mask: _Mask, weights: _Matrix) -> _Matrix:
        """(rows, features): how much the objective grows if one kept weight goes and the others of its row adapt.

        ``w_i^2 / [(H_SS)^-1]_ii`` (Hassibi & Stork 1993, Optimal Brain Surgeon); infinite where nothing is kept.
        """
        costs = np.full(mask.shape, np.inf)
        damped = self.damped.astype(np.float32)  # enough to choose by
        for rows, support in _supports(mask):
            inverse = np.linalg.inv(damped[support[:, :, None], support[:, None, :]])
            kept = np.take_along_axis(weights[rows], support, 1)
            np.put_along_axis(costs[rows], support, kept**2 / np.diagonal(inverse, axis1=1, axis2=2), 1)
        return costs

    def _direct(self, mask: _Mask) -> _Matrix:
        weights = np.zeros(mask.shape, self.damped.dtype)
        for rows, support in _supports(mask):
            systems = self.damped[support[:, :, None], support[:, None, :]]
            sides = np.take_along_axis(self.pull[rows], support, 1)
            np.put_along_axis(weights[rows], support, np.linalg.solve(systems, sides[..., None])[..., 0], 1)
        return weights

    def _conjugate_gradients(self, mask: _Mask, near: _Matrix) -> _Matrix:
        """Preconditioned with the diagonal; all rows step together, each with its own length."""
        inverse = np.where(mask, 1 / np.diagonal(self.damped), 0)
        weights = masked(near, mask)
        residual = masked(self.pull - weights @ self.damped, mask)
        scaled = residual * inverse
        direction = scaled
        power = np.einsum("rk,rk->r", residual, scaled)
        enough = _CG_TOLERANCE**2 * np.einsum("rk,rk->r", self.pull, self.pull * inverse)
        for _ in range(_MAX_CG_STEPS):
            if (power <= enough).all():
                break
            image = masked(direction @ self.damped, mask)
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


def _supports(mask: _Mask) -> list[tuple[slice, NDArray[np.intp]]]:
    """Rows in slices of bounded memory, with (rows, kept) the features that each keeps; all rows keep as many."""
    kept = int(mask[0].sum()) if len(mask) else 0
    columns = np.nonzero(mask)[1].reshape(len(mask), kept)
    size = max(1, _CHUNK // max(kept * kept, 1))
    return [(slice(start, start + size), columns[start : start + size]) for start in range(0, len(mask), size)]

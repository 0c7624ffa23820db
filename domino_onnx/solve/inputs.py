"""What a layer's inputs say of all its outputs' least-squares problems: their second moments, or the inputs themselves.

Second moments are (features, features). Where there are few positions for so many features, that matrix has a low rank:
products with it go through the positions, and its inverse is the one of a small matrix (Woodbury 1950).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["FewInputs", "Inputs", "Proximal"]

_Matrix = NDArray[np.floating]
_Rows = NDArray[np.float32]
Proximal = Callable[[_Rows, float], _Rows]
"""(rows, features) that minimise a quadratic plus penalty times the squared distance from an aim, of the same shape."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """Second moments; what follows from them alone is computed once, when it is first asked for.

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
        return _ridge(self.damping, np.diagonal(self.hessian))

    @functools.cached_property
    def damped(self) -> _Matrix:
        """(features, features): the hessian with the ridge."""
        return self.hessian + self.ridge * np.eye(len(self.hessian), dtype=self.hessian.dtype)

    @functools.cached_property
    def spectrum(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Eigenvalues and eigenvectors of `damped`, in the precision that choosing a mask needs."""
        values, vectors = np.linalg.eigh(self._rough)
        return np.maximum(values, np.float32(self.ridge)), vectors

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the moments, and of what is solved with them."""
        return self.hessian.dtype

    @property
    def squares(self) -> _Matrix:
        """(features,): the mean square of each feature."""
        return np.diagonal(self.hessian)

    @property
    def diagonal(self) -> _Matrix:
        """(features,): of `damped`."""
        return np.diagonal(self.damped)

    def dampened(self, damping: float) -> Inputs:
        """The same inputs with another damping."""
        return Inputs(self.hessian, damping)

    def times_hessian(self, weights: _Matrix) -> _Matrix:
        """(rows, features) of (rows, features)."""
        product: _Matrix = weights @ self.hessian
        return product

    def times_damped(self, weights: _Matrix) -> _Matrix:
        """(rows, features) of (rows, features)."""
        product: _Matrix = weights @ self.damped
        return product

    def solved(self, sides: _Matrix) -> _Matrix:
        """(rows, features) whose product with `damped` gives `sides`."""
        weights: _Matrix = np.linalg.solve(self.damped, sides.T).T
        return weights

    def systems(self, support: NDArray[np.intp]) -> _Matrix:
        """(rows, kept, kept): `damped` at the features that each row keeps, (rows, kept)."""
        return self.damped[support[:, :, None], support[:, None, :]]

    def rough_systems(self, support: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same in float32, which is enough to choose by."""
        return self._rough[support[:, :, None], support[:, None, :]]

    @functools.cached_property
    def _rough(self) -> NDArray[np.float32]:
        return self.damped.astype(np.float32)

    def solved_on(self, support: NDArray[np.intp], sides: _Matrix) -> _Matrix:
        """(rows, kept): the same as `solved`, of the features that each row keeps alone."""
        found: _Matrix = np.linalg.solve(self.systems(support), sides[..., None])[..., 0]
        return found

    def solved_on_costs(self, kept: int) -> tuple[float, int]:
        """Operations that a row of `solved_on` takes, and numbers that it holds."""
        return kept**3 * 2 / 3, kept * kept

    @property
    def product_costs(self) -> float:
        """Operations that a row of a product takes."""
        return 2.0 * len(self.hessian) ** 2

    def proximal(self, pull: _Matrix) -> Proximal:
        """Of the quadratic with the right-hand side `pull`, (rows, features)."""
        eigenvalues, vectors = self.spectrum
        turned = pull.astype(np.float32) @ vectors

        def minimum(aim: _Rows, penalty: float) -> _Rows:
            found: _Rows = (
                (turned + np.float32(penalty) * (aim @ vectors)) / (eigenvalues + np.float32(penalty))
            ) @ vectors.T
            return found

        return minimum


@dataclasses.dataclass(frozen=True, eq=False)
class FewInputs:
    """The inputs themselves, at fewer positions than half of the features; as `Inputs` otherwise.

    Attributes
    ----------
    root
        (positions, features) float64: ``root^T root`` is the hessian. An inverse on a support loses digits that float32
        doesn't have.
    damping
        In units of the hessian's mean diagonal.
    """

    root: NDArray[np.float64]
    damping: float

    @functools.cached_property
    def ridge(self) -> float:
        """As `Inputs.ridge`."""
        return _ridge(self.damping, self.squares)

    @functools.cached_property
    def damped(self) -> _Matrix:
        """(features, features), for masks of the second order alone: it is what this class is there to avoid."""
        return self.root.T @ self.root + self.ridge * np.eye(self.root.shape[1])

    @property
    def dtype(self) -> np.dtype[np.float64]:
        """As `Inputs.dtype`."""
        return self.root.dtype

    @functools.cached_property
    def squares(self) -> NDArray[np.float64]:
        """As `Inputs.squares`."""
        found: NDArray[np.float64] = np.einsum("pk,pk->k", self.root, self.root)
        return found

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """As `Inputs.diagonal`."""
        return self.squares + self.ridge

    @functools.cached_property
    def _gram(self) -> NDArray[np.float64]:
        """(positions, positions), with the ridge."""
        gram: NDArray[np.float64] = self.root @ self.root.T + self.ridge * np.eye(len(self.root))
        return gram

    @functools.cached_property
    def _spectrum(self) -> tuple[_Rows, _Rows]:
        """(positions,) eigenvalues with the ridge, and `root` turned onto their vectors, (positions, features)."""
        values, vectors = np.linalg.eigh(self._gram)
        floored = np.maximum(values, self.ridge)
        return floored.astype(np.float32), (vectors.T @ self.root).astype(np.float32)

    def dampened(self, damping: float) -> FewInputs:
        """As `Inputs.dampened`."""
        return FewInputs(self.root, damping)

    def times_hessian(self, weights: _Matrix) -> _Matrix:
        """As `Inputs.times_hessian`."""
        product: _Matrix = (weights @ self.root.T) @ self.root
        return product

    def times_damped(self, weights: _Matrix) -> _Matrix:
        """As `Inputs.times_damped`."""
        return self.times_hessian(weights) + self.ridge * weights

    def solved(self, sides: _Matrix) -> _Matrix:
        """As `Inputs.solved`."""
        inner = np.linalg.solve(self._gram, (sides @ self.root.T).T).T
        found: _Matrix = (sides - inner @ self.root) / self.ridge
        return found

    def systems(self, support: NDArray[np.intp]) -> _Matrix:
        """As `Inputs.systems`."""
        kept = self._on(support)
        found: _Matrix = kept.swapaxes(1, 2) @ kept
        found[:, np.arange(support.shape[1]), np.arange(support.shape[1])] += self.ridge
        return found

    def rough_systems(self, support: NDArray[np.intp]) -> NDArray[np.float32]:
        """As `Inputs.rough_systems`."""
        return self.systems(support).astype(np.float32)

    def solved_on(self, support: NDArray[np.intp], sides: _Matrix) -> _Matrix:
        """As `Inputs.solved_on`."""
        if support.shape[1] <= len(self.root):
            found: _Matrix = np.linalg.solve(self.systems(support), sides[..., None])[..., 0]
            return found
        kept = self._on(support)
        grams = kept @ kept.swapaxes(1, 2)
        grams[:, np.arange(len(self.root)), np.arange(len(self.root))] += self.ridge
        inner = np.linalg.solve(grams, kept @ sides[..., None])
        return (sides - (kept.swapaxes(1, 2) @ inner)[..., 0]) / self.ridge

    def solved_on_costs(self, kept: int) -> tuple[float, int]:
        """As `Inputs.solved_on_costs`."""
        positions, least = len(self.root), min(kept, len(self.root))
        return least**3 * 2 / 3 + 2.0 * least**2 * max(kept, positions), positions * kept + least**2

    @property
    def product_costs(self) -> float:
        """As `Inputs.product_costs`."""
        return 4.0 * self.root.size

    def proximal(self, pull: _Matrix) -> Proximal:
        """As `Inputs.proximal`."""
        eigenvalues, turned = self._spectrum
        wanted, ridge = pull.astype(np.float32), np.float32(self.ridge)

        def minimum(aim: _Rows, penalty: float) -> _Rows:
            sides = wanted + np.float32(penalty) * aim
            inner = (sides @ turned.T) / (eigenvalues + np.float32(penalty))
            found: _Rows = (sides - inner @ turned) / (ridge + np.float32(penalty))
            return found

        return minimum

    def _on(self, support: NDArray[np.intp]) -> NDArray[np.float64]:
        """(rows, positions, kept)."""
        return np.moveaxis(self.root[:, support], 0, 1)


def _ridge(damping: float, squares: _Matrix) -> float:
    scale = float(np.mean(squares))
    return damping * scale if scale > 0 else 1.0

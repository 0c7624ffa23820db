"""How much outputs vary from sample to sample: what errors of values are measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Variance", "squared_error", "variances"]

_Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
_TINY = 1e-8


class Variance:
    """The variance of an output, gathered batch by batch; what isn't finite is left out.

    Columns of a (samples, columns) output vary around their own means, so that columns of different sizes don't hide
    what is lost in each; their variances are averaged. All values of other outputs vary around one mean.
    """

    def __init__(self) -> None:
        self._whole = _moments(np.zeros((0, 1)))
        self._columns: _Moments | None = None
        self._width: int | None = None

    def add(self, output: NDArray[Any]) -> None:
        """One more batch (Chan, Golub and LeVeque, 1983)."""
        values = output.astype(np.float64)
        self._whole = _merged(self._whole, _moments(values.reshape(-1, 1)))
        width = values.shape[1] if values.ndim == 2 else 0
        if self._width is None:
            self._width, self._columns = width, _moments(np.zeros((0, width))) if width else None
        if width != self._width:  # as many columns as were found
            self._columns = None
        if self._columns is not None:
            self._columns = _merged(self._columns, _moments(values))

    @property
    def value(self) -> float:
        """A trifle more than it is, so that it can be divided by."""
        counts, _, squares = self._whole
        if self._columns is not None and self._columns[0].max() > 1:  # one sample doesn't vary
            counts, _, squares = self._columns
        return float(squares.sum()) / max(float(counts.sum()), 1.0) + _TINY


def variances(outputs: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, float]:
    """The variance of each floating-point output over several batches."""
    found: dict[str, Variance] = {}
    for batch in outputs:
        for name, output in batch.items():
            if output.dtype.kind == "f":
                found.setdefault(name, Variance()).add(output)
    return {name: variance.value for name, variance in found.items()}


def squared_error(expected: NDArray[Any], got: NDArray[Any]) -> float:
    """The sum of squared differences wherever `expected` is finite."""
    difference = expected.astype(np.float64) - got.astype(np.float64)
    return float(np.sum(difference**2, where=np.isfinite(expected)))


def _moments(rows: NDArray[np.float64]) -> _Moments:
    """Counts, means and sums of squares around the means, by column."""
    finite = np.isfinite(rows)
    counts = finite.sum(axis=0).astype(np.float64)
    means = np.sum(rows, axis=0, where=finite) / np.maximum(counts, 1)
    return counts, means, np.sum((rows - means) ** 2, axis=0, where=finite)


def _merged(left: _Moments, right: _Moments) -> _Moments:
    counts = left[0] + right[0]
    apart = right[1] - left[1]
    share = right[0] / np.maximum(counts, 1)
    return counts, left[1] + apart * share, left[2] + right[2] + apart**2 * left[0] * share

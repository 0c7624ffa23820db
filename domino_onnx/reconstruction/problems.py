"""From what was gathered at a layer to its least-squares problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.needs import outputs_at_once
from domino_onnx.reconstruction.positions import Positions, Statistics
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.solve import FewInputs, Inputs, Quadratic

__all__ = ["DAMPING", "Part", "dense_problems", "wanted_problems"]

DAMPING = 0.01
"""Of the hessian's mean diagonal, where nothing is held out to choose by (SparseGPT's and GPTQ's value)."""
_Matrix = NDArray[np.floating]


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """The problem of some outputs of a block: of all, unless positions are few and outputs many."""

    block: int
    outputs: slice
    problem: Quadratic


def dense_problems(
    reached: ReachedSite, statistics: Statistics, *, centred: bool = True, dtype: type[np.floating] = np.float64
) -> Iterable[Part]:
    """The dense layer's own outputs are wanted, on its inputs in the dense network. To be looked at again and again.

    `centred` leaves the means to the bias, where the layer has one. `dtype` is the precision of second moments.

    Raises
    ------
    DataError
        If sums of squares of what reaches the layer aren't finite.
    """
    _check_finite(reached, statistics)
    centred = centred and reached.bias is not None
    inputs = [_inputs(statistics, block, DAMPING, centred=centred, dtype=dtype) for block in range(reached.shape[0])]
    if isinstance(statistics, Positions):
        return _Dense(inputs, reached.rows(), np.float64)
    return tuple(_Dense(inputs, reached.rows(), dtype))


class _Dense(Iterable[Part]):
    """Parts that are made anew each time, so that one is in memory at once."""

    def __init__(self, inputs: list[Inputs | FewInputs], rows: _Matrix, dtype: type[np.floating]) -> None:
        self._inputs = inputs
        self._rows = rows
        self._dtype = dtype

    def __iter__(self) -> Iterator[Part]:
        for block, inputs in enumerate(self._inputs):
            for outputs in _at_once(inputs, self._rows.shape):
                anchor = self._rows[block, outputs].astype(self._dtype)
                yield Part(block, outputs, Quadratic(inputs, inputs.times_hessian(anchor), anchor))


def wanted_problems(reached: ReachedSite, statistics: Statistics, damping: float) -> Iterator[Part]:
    """The wanted outputs' problems; `damping` in units of the hessian's mean diagonal, DataError as `dense_problems`.

    They are centred where the layer has a bias that takes up the means.
    """
    _check_finite(reached, statistics)
    centred, rows = reached.bias is not None, reached.rows()
    for block, dense in enumerate(rows):
        inputs = _inputs(statistics, block, damping, centred=centred)
        if isinstance(statistics, Moments):
            target = statistics.yx[block] / statistics.count
            if centred:
                x, y = statistics.x[block] / statistics.count, statistics.y[block] / statistics.count
                target = target - np.outer(y, x)
            yield Part(block, slice(None), Quadratic(inputs, target, dense.astype(np.float64)))
            continue
        assert isinstance(inputs, FewInputs)
        wanted = _rooted(statistics.wanted(block), centred=centred)
        for outputs in _at_once(inputs, rows.shape):
            anchor = dense[outputs].astype(np.float64)
            yield Part(block, outputs, Quadratic(inputs, wanted[:, outputs].T @ inputs.root, anchor))


def _inputs(
    statistics: Statistics,
    block: int,
    damping: float,
    *,
    centred: bool,
    dtype: type[np.floating] = np.float64,
) -> Inputs | FewInputs:
    if isinstance(statistics, Positions):
        return FewInputs(_rooted(statistics.features(block), centred=centred), damping)
    hessian = statistics.xx[block] / statistics.count
    if centred:
        x = statistics.x[block] / statistics.count
        hessian = hessian - np.outer(x, x)
    return Inputs(hessian.astype(dtype, copy=False), damping)


def _rooted(rows: NDArray[np.float64], *, centred: bool) -> NDArray[np.float64]:
    """Positions of which sums of products are means."""
    rooted: NDArray[np.float64] = (rows - rows.mean(axis=0) if centred else rows) / np.sqrt(len(rows))
    return rooted


def _at_once(inputs: Inputs | FewInputs, shape: tuple[int, ...]) -> Iterator[slice]:
    """The outputs of a block: all where second moments take as much memory anyway, or some after the others."""
    outputs, features = shape[1:]
    step = outputs_at_once(features) if isinstance(inputs, FewInputs) else max(outputs, 1)
    return (slice(start, start + step) for start in range(0, outputs, step))


def _check_finite(reached: ReachedSite, statistics: Statistics) -> None:
    """DataError where squares of what reaches the layer aren't finite."""
    if isinstance(statistics, Moments):
        finite = bool(np.isfinite(statistics.xx).all() and np.isfinite(statistics.yx).all())
    else:
        finite = bool(np.isfinite(statistics.x).all() and np.isfinite(statistics.yy).all())
    if not finite:
        raise DataError(
            f"what the data make at {reached.site.name!r} is too large to be squared in float32: check their "
            "scale, and that they are prepared as in training"
        )

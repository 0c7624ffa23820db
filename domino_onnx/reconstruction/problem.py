"""From what was gathered at a layer to its least-squares problems, block by block, and to a new weight and bias."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.needs import ROWS_AT_ONCE
from domino_onnx.reconstruction.positions import Positions, Statistics, together
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.scheme import NMScheme
from domino_onnx.solve import FewInputs, Inputs, MaskRule, Quadratic, choose_mask, swap

__all__ = [
    "Chooser",
    "Gathered",
    "Part",
    "Sample",
    "Solution",
    "dense_problems",
    "estimate_error",
    "prune_dense",
    "prune_wanted",
]

Chooser = Callable[[Quadratic, NMScheme], NDArray[np.bool_]]
"""Which weights stay: (rows, features), True = kept."""

_Matrix = NDArray[np.floating]
_Rows = NDArray[np.float32]
_DAMPINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_DAMPING = 0.01
"""Of the hessian's mean diagonal, where nothing is held out to choose by (SparseGPT's and GPTQ's value)."""
_JUDGED_ROWS = 32
_JUDGED_PARTS = 8
"""So many rows, and parts, are taken for all where only a sum over them is wanted."""
_CLIPPED_ROUNDS = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some positions themselves, for what second moments can't tell.

    Attributes
    ----------
    features, wanted
        (blocks, positions, features) and (blocks, positions, outputs), as the moments have them.
    joined
        (blocks, positions, outputs): what Adds put on top before the sum is clipped, a bias behind the node with it.
    """

    features: _Rows
    wanted: _Rows
    joined: _Rows


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A layer's statistics on the pruned network's inputs and for the outputs that are wanted.

    Attributes
    ----------
    fitted, held_out
        The positions that a refit learns from, and those that its damping is judged by (None: too few batches).
    sample
        Only where the outputs are clipped.
    """

    fitted: Statistics
    held_out: Statistics | None
    sample: Sample | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """New weights, (blocks, outputs, features), and a new bias, (blocks, outputs), where the layer has one.

    `error` is what is lost of the outputs' energy, as a share: 0 for a perfect fit, about 1 for none.
    """

    matrix: _Matrix
    bias: _Matrix | None
    error: float


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
    """
    _check_finite(reached, statistics)
    centred = centred and reached.bias is not None
    inputs = [_inputs(statistics, block, _DAMPING, centred=centred, dtype=dtype) for block in range(reached.shape[0])]
    if isinstance(statistics, Positions):
        return _Dense(inputs, reached.matrix())
    return tuple(_Dense(inputs, reached.matrix().astype(dtype)))


class _Dense(Iterable[Part]):
    """Parts that are made anew each time, so that one is in memory at once."""

    def __init__(self, inputs: list[Inputs | FewInputs], matrix: _Matrix) -> None:
        self._inputs = inputs
        self._matrix = matrix

    def __iter__(self) -> Iterator[Part]:
        for block, inputs in enumerate(self._inputs):
            for outputs in _at_once(inputs, self._matrix.shape):
                anchor = self._matrix[block, outputs]
                yield Part(block, outputs, Quadratic(inputs, inputs.times_hessian(anchor), anchor))


def prune_dense(
    reached: ReachedSite,
    parts: Iterable[Part],
    statistics: Statistics,
    scheme: NMScheme,
    choose: Chooser,
    judges: Iterable[Part] | None = None,
) -> Solution:
    """Prune and refit a layer alone in the dense network.

    Parameters
    ----------
    parts, judges
        Its `dense_problems`, on the data to learn from and on those that the error is taken of (the same ones).
    """
    matrix = np.empty(reached.shape)
    lost = energy = 0.0
    for part, judging in zip(parts, parts if judges is None else judges, strict=True):
        weights, judge = part.problem.refit(choose(part.problem, scheme)), judging.problem
        matrix[part.block, part.outputs] = weights
        change = matrix[part.block, part.outputs] - judge.anchor
        lost += float(np.sum(change * judge.inputs.times_hessian(change)))
        energy += float(np.sum(judge.anchor * judge.target))
    bias = reached.bias
    if bias is not None:
        bias = bias - np.einsum("bok,bk->bo", matrix - reached.matrix(), statistics.x / statistics.count)
    return Solution(matrix=matrix, bias=bias, error=lost / energy if energy > 0 else 0.0)


def estimate_error(parts: Iterable[Part], scheme: NMScheme, choose: Chooser, judges: Iterable[Part]) -> float:
    """About the `Solution.error` of `prune_dense`, from some of the rows: to compare schemes with each other."""
    lost = energy = 0.0
    for part, judging in itertools.islice(zip(parts, judges, strict=True), _JUDGED_PARTS):
        some, inputs = part.problem.rows(_telling_rows(part.problem)), judging.problem.inputs
        change = some.refit(choose(some, scheme)) - some.anchor
        lost += float(np.sum(change * inputs.times_hessian(change)))
        energy += float(np.sum(some.anchor * inputs.times_hessian(some.anchor)))
    return lost / energy if energy > 0 else 0.0


def prune_wanted(
    reached: ReachedSite,
    gathered: Gathered,
    scheme: NMScheme,
    rule: MaskRule,
    clipped: tuple[float, float] | None,
) -> Solution:
    """Prune and refit a layer so that it gives the wanted outputs on the inputs that it really gets."""
    held_out = gathered.held_out
    statistics = gathered.fitted if held_out is None else together(gathered.fitted, held_out)
    damping = _chosen_damping(reached, gathered, scheme)
    x, y = statistics.x / statistics.count, statistics.y / statistics.count
    matrix, output_mean = np.empty(reached.shape), np.empty_like(y)
    lost = energy = 0.0
    for part in _wanted(reached, statistics, damping):
        problem, outputs, mean = part.problem, (part.block, part.outputs), y[part.block, part.outputs]
        mask, weights = swap(problem, choose_mask(problem, scheme, rule), scheme)
        spread = statistics.yy[outputs] / statistics.count - (0 if reached.bias is None else mean**2)
        off = problem.inputs.times_hessian(weights) - 2 * problem.target
        lost += float(np.sum(np.einsum("ok,ok->o", weights, off) + spread))
        energy += float(np.sum(spread))
        output_mean[outputs] = mean
        if clipped is not None and gathered.sample is not None and reached.bias is not None:
            weights, output_mean[outputs] = _clipped(part, mask, weights, gathered.sample, x[part.block], mean, clipped)
        matrix[outputs] = weights
    bias = None
    if reached.bias is not None:
        free = output_mean - np.einsum("bok,bk->bo", matrix, x)
        bias = free if reached.adds_inside else reached.bias + free
    return Solution(matrix=matrix, bias=bias, error=max(lost, 0.0) / energy if energy > 0 else 0.0)


def _wanted(reached: ReachedSite, statistics: Statistics, damping: float) -> Iterator[Part]:
    """The wanted outputs' problems; centred where the layer has a bias that takes up the means."""
    _check_finite(reached, statistics)
    centred, matrix = reached.bias is not None, reached.matrix()
    for block, anchor in enumerate(matrix):
        inputs = _inputs(statistics, block, damping, centred=centred)
        if isinstance(statistics, Moments):
            target = statistics.yx[block] / statistics.count
            if centred:
                x, y = statistics.x[block] / statistics.count, statistics.y[block] / statistics.count
                target = target - np.outer(y, x)
            yield Part(block, slice(None), Quadratic(inputs, target, anchor))
            continue
        assert isinstance(inputs, FewInputs)
        wanted = _rooted(statistics.wanted(block), centred=centred)
        for outputs in _at_once(inputs, matrix.shape):
            yield Part(block, outputs, Quadratic(inputs, wanted[:, outputs].T @ inputs.root, anchor[outputs]))


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
    step = max(1, ROWS_AT_ONCE // max(features, 1)) if isinstance(inputs, FewInputs) else max(outputs, 1)
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


def _chosen_damping(reached: ReachedSite, gathered: Gathered, scheme: NMScheme) -> float:
    """The damping whose refit has the least error on the positions that were held out."""
    if gathered.held_out is None:
        return _DAMPING
    errors = np.zeros(len(_DAMPINGS))
    held_out, fitted = (_wanted(reached, *each) for each in ((gathered.held_out, 0.0), (gathered.fitted, _DAMPING)))
    # A mask of the second order takes the whole matrix of second moments.
    rule: MaskRule = "admm" if isinstance(gathered.fitted, Positions) else "obs"
    for judging, part in itertools.islice(zip(held_out, fitted, strict=True), _JUDGED_PARTS):
        rows = _telling_rows(part.problem)
        some, judge = part.problem.rows(rows), judging.problem.rows(rows)
        mask = choose_mask(some, scheme, rule)
        for place, damping in enumerate(_DAMPINGS):
            weights = some.dampened(damping).refit(mask)
            errors[place] += judge.loss(weights).sum()
    return _DAMPINGS[int(np.argmin(errors))]


def _telling_rows(problem: Quadratic) -> NDArray[np.intp]:
    """Half of them those whose outputs have the most energy, which may be nearly all of it; half all over the rest."""
    energies = np.einsum("rk,rk->r", problem.anchor, problem.target)
    order = np.argsort(-energies, kind="stable")
    heaviest, rest = np.split(order, [_JUDGED_ROWS // 2])
    places = np.unique(np.linspace(0, max(len(rest) - 1, 0), _JUDGED_ROWS // 2).astype(np.intp))
    return np.sort(np.concatenate([heaviest, rest[places] if len(rest) else rest]))


def _clipped(
    part: Part,
    mask: NDArray[np.bool_],
    weights: _Matrix,
    sample: Sample,
    x: _Matrix,
    y: _Matrix,
    bounds: tuple[float, float],
) -> tuple[_Matrix, _Matrix]:
    """Refit towards outputs that matter after clipping (asymmetric reconstruction, as Zhang et al. 2015, section 2.4).

    Where the wanted output is clipped, any output beyond the bound is as good: wanted is then what the layer gives
    anyway, or the bound. A few rounds of targets and refits; each keeps the mask and holds on to the last weights.
    """
    problem = part.problem
    features = sample.features[part.block] - x.astype(np.float32)
    joined = sample.joined[part.block][:, part.outputs]
    total = sample.wanted[part.block][:, part.outputs] + joined
    below, above = total <= bounds[0], total >= bounds[1]
    mean = y
    for _ in range(_CLIPPED_ROUNDS):
        given = features @ weights.T.astype(np.float32) + mean.astype(np.float32) + joined
        aim = np.where(below, np.minimum(given, bounds[0]), np.where(above, np.maximum(given, bounds[1]), total))
        change = aim - total
        mean = y + change.mean(axis=0, dtype=np.float64)
        target = problem.target + (change.T @ features).astype(np.float64) / len(features)
        weights = problem.retargeted(target, weights).refit(mask, weights)
    return weights, mean

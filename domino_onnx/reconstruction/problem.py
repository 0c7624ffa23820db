"""From what was gathered at a layer to its least-squares problems, block by block, and to a new weight and bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.scheme import NMScheme
from domino_onnx.solve import Inputs, MaskRule, Quadratic, choose_mask, swap

__all__ = [
    "Chooser",
    "Gathered",
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
_JUDGED_BLOCKS = 8
"""Rows, and convolution groups, that are taken for all where only a sum over them is wanted."""
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

    fitted: Moments
    held_out: Moments | None
    sample: Sample | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """New weights, (blocks, outputs, features), and a new bias, (blocks, outputs), where the layer has one.

    `error` is what is lost of the outputs' energy, as a share: 0 for a perfect fit, about 1 for none.
    """

    matrix: _Matrix
    bias: _Matrix | None
    error: float


def dense_problems(
    reached: ReachedSite, moments: Moments, *, centred: bool = True, dtype: type[np.floating] = np.float64
) -> list[Quadratic]:
    """One a block: the dense layer's own outputs are wanted, on its inputs in the dense network.

    `centred` leaves the means to the bias, where the layer has one.
    """
    problems = []
    for hessian, _, anchor in _centred(reached, moments, centred=centred):
        inputs, weights = Inputs(hessian.astype(dtype), _DAMPING), anchor.astype(dtype)
        problems.append(Quadratic(inputs, weights @ inputs.hessian, weights))
    return problems


def prune_dense(
    reached: ReachedSite,
    problems: Sequence[Quadratic],
    moments: Moments,
    scheme: NMScheme,
    choose: Chooser,
    judges: Sequence[Quadratic] | None = None,
) -> Solution:
    """Prune and refit a layer alone in the dense network.

    Parameters
    ----------
    problems, judges
        Its `dense_problems`, on the data to learn from and on those that the error is taken of (the same ones).
    """
    matrix = np.empty(reached.shape)
    lost = energy = 0.0
    for block, (problem, judge) in enumerate(zip(problems, judges or problems, strict=True)):
        matrix[block] = problem.refit(choose(problem, scheme))
        change = matrix[block] - judge.anchor
        lost += float(np.sum(change * (change @ judge.hessian)))
        energy += float(np.sum(judge.anchor * judge.target))
    bias = reached.bias
    if bias is not None:
        bias = bias - np.einsum("bok,bk->bo", matrix - reached.matrix(), moments.x / moments.count)
    return Solution(matrix=matrix, bias=bias, error=lost / energy if energy > 0 else 0.0)


def estimate_error(
    problems: Sequence[Quadratic], scheme: NMScheme, choose: Chooser, judges: Sequence[Quadratic]
) -> float:
    """About the `Solution.error` of `prune_dense`, from some of the rows: to compare schemes with each other."""
    lost = energy = 0.0
    for problem, judge in zip(problems[:_JUDGED_BLOCKS], judges, strict=False):
        part = problem.rows(_telling_rows(problem))
        change = part.refit(choose(part, scheme)) - part.anchor
        lost += float(np.sum(change * (change @ judge.hessian)))
        energy += float(np.sum(part.anchor * (part.anchor @ judge.hessian)))
    return lost / energy if energy > 0 else 0.0


def prune_wanted(
    reached: ReachedSite,
    gathered: Gathered,
    scheme: NMScheme,
    rule: MaskRule,
    clipped: tuple[float, float] | None,
) -> Solution:
    """Prune and refit a layer so that it gives the wanted outputs on the inputs that it really gets."""
    moments = gathered.fitted if gathered.held_out is None else gathered.fitted + gathered.held_out
    damping = _chosen_damping(reached, gathered, scheme)
    x, y = moments.x / moments.count, moments.y / moments.count
    matrix, output_mean = np.empty(reached.shape), np.empty_like(y)
    lost = energy = 0.0
    for block, problem in enumerate(_problems(reached, moments, damping)):
        mask, weights = swap(problem, choose_mask(problem, scheme, rule), scheme)
        spread = moments.yy[block] / moments.count - (0 if reached.bias is None else y[block] ** 2)
        lost += float(np.sum(np.einsum("ok,ok->o", weights, weights @ problem.hessian - 2 * problem.target) + spread))
        energy += float(np.sum(spread))
        output_mean[block] = y[block]
        if clipped is not None and gathered.sample is not None and reached.bias is not None:
            weights, output_mean[block] = _clipped(problem, mask, weights, block, gathered.sample, x, y, clipped)
        matrix[block] = weights
    bias = None
    if reached.bias is not None:
        free = output_mean - np.einsum("bok,bk->bo", matrix, x)
        bias = free if reached.adds_inside else reached.bias + free
    return Solution(matrix=matrix, bias=bias, error=max(lost, 0.0) / energy if energy > 0 else 0.0)


def _problems(reached: ReachedSite, moments: Moments, damping: float) -> list[Quadratic]:
    """One a block; centred where the layer has a bias that takes up the means."""
    return [
        Quadratic(Inputs(hessian, damping), target, anchor)
        for hessian, target, anchor in _centred(reached, moments, centred=True)
    ]


def _centred(reached: ReachedSite, moments: Moments, *, centred: bool) -> Iterator[tuple[_Matrix, _Matrix, _Matrix]]:
    """Hessian, target and anchor of each block; DataError where squares of what reaches the layer aren't finite."""
    if not (np.isfinite(moments.xx).all() and np.isfinite(moments.yx).all()):
        raise DataError(
            f"what the data make at {reached.site.name!r} is too large to be squared in float32: check their "
            "scale, and that they are prepared as in training"
        )
    for block, anchor in enumerate(reached.matrix()):
        hessian, target = moments.xx[block] / moments.count, moments.yx[block] / moments.count
        if centred and reached.bias is not None:
            x, y = moments.x[block] / moments.count, moments.y[block] / moments.count
            hessian, target = hessian - np.outer(x, x), target - np.outer(y, x)
        yield hessian, target, anchor


def _chosen_damping(reached: ReachedSite, gathered: Gathered, scheme: NMScheme) -> float:
    """The damping whose refit has the least error on the positions that were held out."""
    if gathered.held_out is None:
        return _DAMPING
    errors = np.zeros(len(_DAMPINGS))
    held_out = _problems(reached, gathered.held_out, 0.0)
    fitted = _problems(reached, gathered.fitted, _DAMPING)
    for whole_judge, whole in zip(held_out[:_JUDGED_BLOCKS], fitted, strict=False):
        rows = _telling_rows(whole)
        part, judge = whole.rows(rows), whole_judge.rows(rows)
        mask = choose_mask(part, scheme, "obs")
        for place, damping in enumerate(_DAMPINGS):
            weights = part.dampened(damping).refit(mask)
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
    problem: Quadratic,
    mask: NDArray[np.bool_],
    weights: _Matrix,
    block: int,
    sample: Sample,
    x: _Matrix,
    y: _Matrix,
    bounds: tuple[float, float],
) -> tuple[_Matrix, _Matrix]:
    """Refit towards outputs that matter after clipping (asymmetric reconstruction, as Zhang et al. 2015, section 2.4).

    Where the wanted output is clipped, any output beyond the bound is as good: wanted is then what the layer gives
    anyway, or the bound. A few rounds of targets and refits; each keeps the mask and holds on to the last weights.
    """
    features = sample.features[block] - x[block].astype(np.float32)
    joined = sample.joined[block]
    total = sample.wanted[block] + joined
    below, above = total <= bounds[0], total >= bounds[1]
    mean = y[block]
    for _ in range(_CLIPPED_ROUNDS):
        given = features @ weights.T.astype(np.float32) + mean.astype(np.float32) + joined
        aim = np.where(below, np.minimum(given, bounds[0]), np.where(above, np.maximum(given, bounds[1]), total))
        change = aim - total
        mean = y[block] + change.mean(axis=0, dtype=np.float64)
        target = problem.target + (change.T @ features).astype(np.float64) / len(features)
        weights = problem.retargeted(target, weights).refit(mask, weights)
    return weights, mean

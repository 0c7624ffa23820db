"""A layer's new weight and bias, from what was gathered at it: the mask, the refit, and what they cost."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.reconstruction.positions import Positions, Statistics, together
from domino_onnx.reconstruction.problems import DAMPING, Part, wanted_problems
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.scheme import NMScheme
from domino_onnx.solve import MaskRule, Quadratic, choose_mask, swap

__all__ = [
    "Chooser",
    "Gathered",
    "Sample",
    "Solution",
    "estimate_error",
    "prune_dense",
    "prune_wanted",
]

Chooser = Callable[[Quadratic, NMScheme], NDArray[np.bool_]]
"""Which weights stay: (rows, features), True = kept."""

_Matrix = NDArray[np.floating]
_Rows = NDArray[np.float32]
_DAMPINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
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
    for part in wanted_problems(reached, statistics, damping):
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


def _chosen_damping(reached: ReachedSite, gathered: Gathered, scheme: NMScheme) -> float:
    """The damping whose refit has the least error on the positions that were held out."""
    if gathered.held_out is None:
        return DAMPING
    errors = np.zeros(len(_DAMPINGS))
    held_out, fitted = (
        wanted_problems(reached, *each) for each in ((gathered.held_out, 0.0), (gathered.fitted, DAMPING))
    )
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

"""Which weights of each group stay: rules from magnitude alone to the second order with everything else refitted."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme
from domino_onnx.solve.mask import keep_largest, masked
from domino_onnx.solve.quadratic import Quadratic

__all__ = ["MaskRule", "admm_mask", "choose_mask", "largest_of_groups", "obs_mask", "saliency", "sparsegpt", "swap"]

MaskRule = Literal["magnitude", "activation", "obs", "admm"]
_Matrix = NDArray[np.floating]
_Mask = NDArray[np.bool_]
_BLOCK = 128
_ADMM_STEPS = 30
_ADMM_START, _ADMM_END = 0.05, 3.3
"""The penalty of the first and behind the last step, in units of the hessian's mean diagonal."""
_MAX_SWAP_WORK = 3e8
"""Rows times the cube of their support, above which swaps are left out: each round inverts every row's system."""
_SWAP_SHARES = (0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.03, 0.03, 0.03)
"""Which share of a row's groups may swap in one round: all promising ones at once would undo each other's gain."""


def largest_of_groups(scores: NDArray[np.floating], scheme: NMScheme) -> _Mask:
    """(rows, features): the N largest of every M consecutive scores of a row that the scheme allows."""
    return keep_largest(scores.reshape(-1, scheme.m), scheme).reshape(scores.shape)


def saliency(problem: Quadratic, rule: Literal["magnitude", "activation"]) -> _Matrix:
    """(rows, features): the importance of each weight of the anchor when the others stay as they are.

    ``magnitude``: w^2. ``activation``: w^2 times the feature's mean square (Wanda, Sun et al. 2023, squared).
    """
    squares = problem.anchor**2
    return squares if rule == "magnitude" else squares * problem.inputs.squares


def choose_mask(problem: Quadratic, scheme: NMScheme, rule: MaskRule, admm_steps: int = _ADMM_STEPS) -> _Mask:
    """(rows, features): exactly N True in each group.

    ``magnitude`` and ``activation`` judge each weight by itself. ``obs`` makes up for each choice before the next.
    ``admm`` settles all choices of a row together, and costs the most.
    """
    if rule == "obs":
        return obs_mask(problem, scheme)
    if rule == "admm":
        return admm_mask(problem, scheme, admm_steps)
    return largest_of_groups(saliency(problem, rule), scheme)


def obs_mask(problem: Quadratic, scheme: NMScheme) -> _Mask:
    """The mask that `sparsegpt` finds."""
    return _column_by_column(problem, scheme)[0]


def sparsegpt(problem: Quadratic, scheme: NMScheme) -> _Matrix:
    """(rows, features): pruned and updated weights of SparseGPT (Frantar and Alistarh 2023, section 3)."""
    return _column_by_column(problem, scheme)[1]


def _column_by_column(problem: Quadratic, scheme: NMScheme) -> tuple[_Mask, _Matrix]:
    """Second-order selection with error propagation.

    Each group is chosen by ``w^2 / [H^-1]_jj`` of the columns not yet passed; what a pruned weight did is made up for
    by the columns to its right.
    """
    weights = problem.dense.copy()
    rows, features = weights.shape
    upper = np.linalg.cholesky(np.linalg.inv(problem.inputs.damped)).T
    mask = np.zeros(weights.shape, np.bool_)
    width = _BLOCK // scheme.m * scheme.m or scheme.m
    for start in range(0, features, width):
        stop = min(start + width, features)
        part, factor = weights[:, start:stop], upper[start:stop, start:stop]
        errors = np.zeros((rows, stop - start))
        for column in range(stop - start):
            if column % scheme.m == 0:
                group = slice(column, column + scheme.m)
                scores = (part[:, group] / np.diagonal(factor)[group]) ** 2
                mask[:, start + column : start + column + scheme.m] = keep_largest(scores, scheme)
            pruned = ~mask[:, start + column]
            errors[:, column] = np.where(pruned, part[:, column], 0.0) / factor[column, column]
            part[:, column:] -= errors[:, column, None] * factor[column, column:]
            part[pruned, column] = 0.0
        weights[:, stop:] -= errors @ upper[start:stop, stop:]
    return mask, weights


def admm_mask(problem: Quadratic, scheme: NMScheme, steps: int = _ADMM_STEPS) -> _Mask:
    """Selection by the alternating direction method of multipliers (as ALPS, Meng et al. 2024, does for its supports).

    A dense copy follows the quadratic, a sparse one the scheme; a growing penalty brings them together, and the groups
    of a row settle against each other instead of from left to right.
    """
    minimum = problem.inputs.proximal(problem.pull)
    penalty = _ADMM_START * float(np.mean(problem.inputs.diagonal))
    dense = problem.dense.astype(np.float32)
    mask = largest_of_groups(np.abs(dense), scheme)
    sparse = masked(dense, mask)
    dual = np.zeros_like(sparse)
    growth = (_ADMM_END / _ADMM_START) ** (1 / steps)
    for _ in range(steps):
        dense = minimum(sparse - dual, penalty)
        together = dense + dual
        mask = largest_of_groups(np.abs(together), scheme)
        sparse = masked(together, mask)
        dual = together - sparse
        penalty *= growth
    return mask


def swap(problem: Quadratic, mask: _Mask, scheme: NMScheme) -> tuple[_Mask, _Matrix]:
    """Exchange a kept and a pruned weight of a group wherever that lowers the refitted row's error; never worse.

    Where that would take too long (supports of many hundreds), the mask comes back as it was, refitted.

    Returns
    -------
    The mask and the refitted weights, (rows, features) both.
    """
    weights = problem.refit(mask)
    if mask.sum() * float(mask[0].sum()) ** 2 > _MAX_SWAP_WORK:
        return mask, weights
    losses = problem.loss(weights)
    for share in _SWAP_SHARES:
        trial = _swapped(problem, mask, weights, scheme, share)
        changed = np.flatnonzero((trial != mask).any(axis=1))
        if not len(changed):
            break
        part = problem.rows(changed)
        refitted = part.refit(trial[changed], weights[changed])
        trial_losses = part.loss(refitted)
        better = trial_losses < losses[changed]
        winners = changed[better]
        mask, weights, losses = mask.copy(), weights.copy(), losses.copy()
        mask[winners], weights[winners], losses[winners] = trial[winners], refitted[better], trial_losses[better]
    return mask, weights


def _swapped(problem: Quadratic, mask: _Mask, weights: _Matrix, scheme: NMScheme, share: float) -> _Mask:
    """One swap in each of a row's most promising groups, judged one at a time."""
    rows, features = mask.shape
    shape = (rows, features // scheme.m, scheme.m)
    gains = np.where(mask, -np.inf, problem.gradient(weights) ** 2 / problem.inputs.diagonal).reshape(shape)
    costs = problem.removal_costs(mask, weights).reshape(shape)
    enters, leaves, profit = _best_exchange(gains, costs, mask.reshape(shape), scheme)
    places = max(1, int(np.ceil(share * shape[1])))
    best = np.argsort(-profit, axis=1, kind="stable")[:, :places]
    row, place = np.nonzero(np.take_along_axis(profit, best, 1) > 0)
    group = best[row, place]
    swapped = mask.reshape(shape).copy()
    swapped[row, group, enters[row, group]] = True
    swapped[row, group, leaves[row, group]] = False
    together: _Mask = swapped.reshape(mask.shape)
    return together


def _best_exchange(
    gains: _Matrix, costs: _Matrix, mask: _Mask, scheme: NMScheme
) -> tuple[NDArray[np.intp], NDArray[np.intp], _Matrix]:
    """(rows, groups) each: which weight of a group enters, which leaves, and what that is worth, at the best.

    `gains`, `costs` and `mask` are (rows, groups, M). Under `NMScheme.two_of_four` a weight enters where its four has
    room, whatever leaves; or for one of its own four.
    """
    leaves = costs.argmin(axis=2)
    if not scheme.two_of_four:
        return gains.argmax(axis=2), leaves, gains.max(axis=2) - costs.min(axis=2)
    fours = (*mask.shape[:2], -1, 4)
    has_room = np.repeat(mask.reshape(fours).sum(axis=3) < 2, 4, axis=2)
    anywhere = np.where(has_room, gains, -np.inf)
    profit_anywhere = anywhere.max(axis=2) - costs.min(axis=2)
    inside = gains.reshape(fours).max(axis=3) - costs.reshape(fours).min(axis=3)
    four = inside.argmax(axis=2)
    own = (np.take_along_axis(each.reshape(fours), four[..., None, None], 2)[:, :, 0] for each in (gains, costs))
    own_gains, own_costs = own
    stays = inside.max(axis=2) > profit_anywhere
    enters = np.where(stays, 4 * four + own_gains.argmax(axis=2), anywhere.argmax(axis=2))
    leaves = np.where(stays, 4 * four + own_costs.argmin(axis=2), leaves)
    return enters, leaves, np.maximum(inside.max(axis=2), profit_anywhere)

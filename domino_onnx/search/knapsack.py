"""The choice of one scheme a site under a budget: a multiple-choice knapsack, solved exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import BudgetError

__all__ = ["choose"]

_MAX_STATES = 1 << 19


def choose(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], limit: int) -> list[int]:
    """One option for each site, the least total loss among all choices that cost at most `limit`.

    Dynamic programming over the integer budget in units of the costs' greatest common divisor. Above 2^19 units costs
    are rounded up to coarser ones: the budget still holds, and the result is exact for a limit smaller by at most one
    unit a site.

    Parameters
    ----------
    costs, losses
        For each site, for each of its options; losses are finite.
    limit
        The most that the chosen costs may add up to.

    Returns
    -------
    The option chosen for each site. Of equally good choices the cheapest wins, then the one with the earliest options.

    Raises
    ------
    BudgetError
        If even the cheapest options cost more than `limit`.
    """
    cheapest = sum(min(options) for options in costs)
    if cheapest > limit:
        raise BudgetError(f"the cheapest choice of schemes costs {cheapest}, the budget is {limit}")
    # Only what is spent above the cheapest option counts: the table is smaller, and rounding can't make it unreachable.
    spare = [[cost - min(options) for cost in options] for options in costs]
    unit = math.gcd(*(cost for options in spare for cost in options)) or 1
    unit *= -(-((limit - cheapest) // unit) // _MAX_STATES) or 1
    steps = [[-(-cost // unit) for cost in options] for options in spare]
    states = min((limit - cheapest) // unit, sum(max(options) for options in steps)) + 1
    return _solve(steps, losses, states)


def _solve(steps: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], states: int) -> list[int]:
    best: NDArray[np.float64] = np.zeros(states)
    taken: list[NDArray[np.unsignedinteger]] = []
    for options, option_losses in zip(steps, losses, strict=True):
        total = np.full(states, np.inf)
        choice = np.zeros(states, np.min_scalar_type(len(options)))
        for option, (step, loss) in enumerate(zip(options, option_losses, strict=True)):
            if step >= states:
                continue
            candidate = best[: states - step] + loss
            better = candidate < total[step:]
            total[step:][better] = candidate[better]
            choice[step:][better] = option
        best = total
        taken.append(choice)
    return _walk_back(steps, taken, int(np.argmin(best)))


def _walk_back(steps: Sequence[Sequence[int]], taken: Sequence[NDArray[np.unsignedinteger]], state: int) -> list[int]:
    chosen: list[int] = []
    for options, choice in zip(reversed(steps), reversed(taken), strict=True):
        option = int(choice[state])
        chosen.append(option)
        state -= options[option]
    return chosen[::-1]

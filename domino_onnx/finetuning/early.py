"""When a training ends before its planned steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pvariance

__all__ = ["has_stopped_falling"]

_PATIENCE = 3
"""A third of the planned steps may bring no new lowest loss."""
_COMPARED = 4
"""The last quarter of the planned steps is compared with the quarter before."""
_FEWEST = 3
"""Looks in each of them: fewer tell nothing of chance."""
_WORTH_ENDING = 0.05
"""A rise counts from this share on of what was won before."""


def has_stopped_falling(looks: Sequence[tuple[int, float]], planned: int, before: float) -> bool:
    """Whether the held-out loss rises, so that it won't fall below its lowest again.

    The rate falls in a cosine. While it is high the loss may stay where it is, with noise, and it falls when the rate
    does: a plateau is no end. So three things are asked for. Half of the planned steps are done, the last third of them
    brought no new lowest loss, and in the last quarter the mean loss is above that of the quarter before: by more than
    the standard error of their difference, and by a twentieth of what was won.

    Parameters
    ----------
    looks
        Step and held-out loss of each look so far, in order.
    planned
        Steps.
    before
        Held-out loss of the given weights.
    """
    if not looks or 2 * looks[-1][0] < planned:
        return False
    ago = [(looks[-1][0] - step) / planned for step, _ in looks]
    losses = [loss for _, loss in looks]
    lowest = min(range(len(losses)), key=lambda place: losses[place])
    recent = [loss for loss, share in zip(losses, ago, strict=True) if share < 1 / _COMPARED]
    earlier = [loss for loss, share in zip(losses, ago, strict=True) if 1 / _COMPARED <= share < 2 / _COMPARED]
    if ago[lowest] < 1 / _PATIENCE or min(len(recent), len(earlier)) < _FEWEST:
        return False
    chance = math.sqrt(pvariance(recent) / len(recent) + pvariance(earlier) / len(earlier))
    return fmean(recent) - fmean(earlier) > max(chance, _WORTH_ENDING * (before - losses[lowest]))

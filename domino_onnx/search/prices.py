"""Prices of what is scarce: Lagrangian multipliers of a choice within limits, and the bounds that they give.

At any prices, a choice within the limits loses at least what each site's best option loses and costs at these prices,
less what may be spent (weak duality; Fisher, Management Science 27, 1981). The best prices make that as much as
possible.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "best_prices"]

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_SPREAD = (0.0, 0.5, 0.8, 1.0, 1.25, 2.0)
"""Multiples of each price that bound as well: what is left to spend is seldom worth just the average."""

_SHIFTS = (0.02, 0.1, 0.3, 1.0)
"""Shares of the way to the prices of either limit alone: what costs nothing on the whole may run short in the end."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a choice for some of the sites must come to when the others are added.

    Attributes
    ----------
    prices
        (price vectors, measures), the best one first.
    rest
        (sites + 1, price vectors): what all sites from this one on contribute, less what may be spent.
    """

    prices: _Floats
    rest: _Floats

    @classmethod
    def of(cls, losses: _Floats, costs: _Ints, spare: _Ints) -> Bounds:
        """For (sites, options) losses, infinite where there is none, and (sites, options, measures) costs."""
        best = best_prices(losses, costs, spare)
        alone = [best_prices(losses, costs * only, spare * only) for only in np.eye(len(best), dtype=np.int64)]
        multiples = (best * factors for factors in itertools.product(_SPREAD, repeat=len(best)))
        shifted = (best + share * (price - best) for share, price in itertools.product(_SHIFTS, alone))
        prices = np.stack([best, *multiples, *shifted])
        each = np.stack([(losses + costs @ price).min(axis=1) for price in prices], axis=1)
        rest = np.zeros((len(losses) + 1, len(prices)))
        rest[:-1] = each[::-1].cumsum(axis=0)[::-1]
        return cls(prices=prices, rest=rest - prices @ spare)

    def quick(self, taken: int, losses: _Ints, costs: _Ints) -> _Floats:
        """The bound of each choice for the first `taken` sites, at the best prices alone."""
        bound: _Floats = losses + costs @ self.prices[0] + self.rest[taken, 0]
        return bound

    def sharp(self, taken: int, losses: _Ints, costs: _Ints) -> _Floats:
        """The highest bound at any of the prices."""
        bound: _Floats = losses + (costs @ self.prices.T + self.rest[taken]).max(axis=1)
        return bound


def best_prices(losses: _Floats, costs: _Ints, spare: _Ints) -> _Floats:
    """The prices of two measures at which the bound over all sites is highest, to some six digits."""
    scale = np.where(np.isfinite(losses), losses, 0.0).max(axis=1).sum() / np.maximum(spare, 1)
    scale *= costs.any(axis=(0, 1))  # what costs nothing has no price

    def price(first: float, second: float) -> _Floats:
        prices: _Floats = np.exp([first, second]) * scale
        return prices

    def bound(first: float, second: float) -> float:
        prices = price(first, second)
        return float((losses + costs @ prices).min(axis=1).sum() - prices @ spare)

    def best_second(first: float) -> float:
        return _peak(lambda second: bound(first, second)) if scale[1] else 0.0

    first = _peak(lambda log: bound(log, best_second(log))) if scale[0] else 0.0
    return price(first, best_second(first))


def _peak(function: Callable[[float], float], low: float = -25.0, high: float = 4.0) -> float:
    """Where a function that rises and then falls is highest, by golden-section search."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-6:
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2

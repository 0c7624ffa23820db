"""Can a few values already tell that a weight is trained? This makes the question cheap for almost all weights."""

from __future__ import annotations

import itertools
from operator import add, mul

import numpy as np
from numpy.typing import NDArray

from domino_onnx.graph.fixed.numbers import WeightNumbers
from domino_onnx.graph.fixed.patterns import FEW_FILTERS, FEW_MAGNITUDES, SMALL

__all__ = ["looks_trained"]

_FIRST, _MORE = 16, 512
_WAVE, _SHORT_WAVE = 24, 12


def looks_trained(weight: WeightNumbers) -> bool:
    """Whether the weight can be none of the functions; False where it takes more than a few values to tell.

    Integers are looked at as they are stored: a scale for each channel makes no pattern of none.
    """
    if weight.values.size <= SMALL:
        return False
    if not _vary(weight.values, _FIRST) and not _vary(weight.values, _MORE):
        return False
    return not _may_repeat(weight.stored) and not _may_be_waves(weight.stored)


def _vary(values: NDArray[np.generic], count: int) -> bool:
    """Whether the first values have both signs and many magnitudes, and neither only rise nor only fall."""
    first = values.reshape(-1)[:count].tolist()
    if min(first) >= 0 or len(set(map(abs, first))) <= FEW_MAGNITUDES:
        return False
    rises = [now < after for now, after in itertools.pairwise(first[:_FIRST])]
    return any(rises) and not all(rises)


def _may_repeat(stored: NDArray[np.generic]) -> bool:
    """Whether one place of the first filters, in (outputs, inputs, positions), holds a value twice, or a zero."""
    outputs, inputs, positions = stored.shape
    if positions < 2:
        return False
    count = FEW_FILTERS + 1 if min(outputs, inputs) == 1 else 2
    some = stored[:count, 0, positions // 2] if inputs == 1 else stored[0, :count, positions // 2]
    first, *others = some.tolist()
    return first == 0 or 0 in others or first in others


def _may_be_waves(stored: NDArray[np.generic]) -> bool:
    """Whether a row of (outputs, inputs, positions), or a column, goes up and down as a sine does."""
    outputs, inputs, positions = stored.shape
    if outputs == 1:
        row, count = stored[0, inputs // 3], inputs
    else:
        row, count = stored[outputs // 3].reshape(-1), outputs
    if _may_be_wave(row, count):
        return True
    return positions == 1 and _may_be_wave(stored[:, inputs // 3, 0], inputs)


def _may_be_wave(row: NDArray[np.generic], rows: int) -> bool:
    """Whether x[n - 1] + x[n + 1] is about the same multiple of x[n] everywhere in the middle of a row.

    Of a sine it is just that. A Blackman window over 12 samples leaves 0.5, random numbers about 2.
    """
    size = len(row)
    if rows > 2 * size + 4:
        return False
    if size < _SHORT_WAVE:
        return True
    start = max(size - _WAVE, 0) // 2
    part = row[start : start + _WAVE].tolist()  # plain floats: so few are added up faster than numpy is called
    middle, around = part[1:-1], list(map(add, part, part[2:]))
    power = sum(map(mul, middle, middle))
    if not power:
        return True
    shared = sum(map(mul, around, middle))
    return bool(sum(map(mul, around, around)) - shared * shared / power <= 0.6 * power)

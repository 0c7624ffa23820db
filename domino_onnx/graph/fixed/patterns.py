"""Does a weight consist of few different numbers or filters, in an order that training doesn't give?"""

from __future__ import annotations

import numpy as np

from domino_onnx.graph.fixed.numbers import Floats, Rows, WeightNumbers

__all__ = [
    "FEW_FILTERS",
    "FEW_MAGNITUDES",
    "SMALL",
    "is_constant",
    "is_evenly_spaced",
    "is_orthogonal",
    "is_selection",
    "is_small_and_whole",
    "repeats_filters",
]

SMALL = 64
"""Weights. A network with weights of -1 and 1 alone has larger ones, which are told apart by their structure."""
_LARGEST_WHOLE, _LARGEST_MULTIPLE = 255, 8
FEW_FILTERS = 8
FEW_MAGNITUDES = 8
_ORTHOGONAL_ROWS = 64


def is_evenly_spaced(weight: WeightNumbers) -> bool:
    """Values that rise or fall by one step, as stored: bins of a distribution, 0, 1, 2, ... (Li et al. 2020, GFL)."""
    if weight.values.size < 3:
        return False
    is_long = weight.values.size >= 8 or (not weight.is_quantised and _is_whole(weight.head))
    return is_long and _rises_evenly(weight.head, weight) and _rises_evenly(weight.flat, weight)


def _rises_evenly(values: Floats, weight: WeightNumbers) -> bool:
    slack = weight.slack(values)
    line = np.linspace(values[0], values[-1], len(values))
    return abs(line[1] - line[0]) >= 4 * slack and bool(np.abs(values - line).max() <= slack)


def is_constant(weight: WeightNumbers) -> bool:
    """One value everywhere, in at least four places."""
    return weight.values.size >= 4 and _is_one_value(weight.sample, weight) and _is_one_value(weight.flat, weight)


def _is_one_value(values: Floats, weight: WeightNumbers) -> bool:
    return bool(values.all()) and float(np.ptp(values)) <= weight.slack(values)


def is_selection(weight: WeightNumbers) -> bool:
    """At most one weight for each output, or for each input, all of the same value: one that training hasn't set."""
    if not _holds_one_value(weight.sample, weight) or not _holds_one_value(weight.flat, weight):
        return False
    used = weight.filters != 0
    count = int(np.count_nonzero(used))
    value = float(weight.filters[used][0])
    if count == used.size or (count < 4 and (weight.is_quantised or value != round(value))):
        return False
    return bool(used.sum(axis=(1, 2)).max() <= 1 or used.sum(axis=(0, 2)).max() <= 1)


def _holds_one_value(values: Floats, weight: WeightNumbers) -> bool:
    """Whether all values are zeros and one other."""
    used = values[values != 0]
    return not used.size or _is_one_value(used, weight)


def repeats_filters(weight: WeightNumbers) -> bool:
    """The same filter, or the same few, at each channel: blurs, averages, interpolations, wavelets.

    Each output may read one channel, or all of them through the same filter.
    """
    outputs, inputs, positions = weight.shape
    if positions < 2 or outputs * inputs < 2:
        return False
    if min(outputs, inputs) == 1:
        return _repeats(weight.filters.reshape(-1, positions), FEW_FILTERS)
    first = weight.rows.at(np.arange(1)).reshape(inputs, positions)
    reads = int(first.any(axis=1).sum())
    if reads == 1:
        used = weight.filters.any(axis=2)
        one_each = used.sum(axis=1).max() <= 1 or used.sum(axis=0).max() <= 1
        return bool(one_each) and _repeats(weight.filters[used], FEW_FILTERS)
    if reads == inputs and np.array_equal(first[1], first[0]):
        limit = FEW_FILTERS if _is_whole(weight.head) and not weight.is_quantised else 1
        return _repeats(weight.filters.reshape(-1, positions), limit)
    return False


def _repeats(filters: Floats, limit: int) -> bool:
    """Whether (count, positions) are at most `limit` filters over and over, or each many times in a row."""
    count = len(filters)
    numbers = np.arange(count)
    for different in range(1, min(limit, count // 2) + 1):
        if count % different:
            continue
        in_a_row = count // different
        for first in (numbers % different, numbers // in_a_row * in_a_row):
            if np.array_equal(filters, filters[first]):
                return bool(filters.any(axis=1).all())
    return False


def is_small_and_whole(weight: WeightNumbers) -> bool:
    """At most 64 weights that are small whole numbers, or, six or more of them, small multiples of one number."""
    values = weight.head
    if weight.is_quantised or not 2 <= weight.values.size <= SMALL:
        return False
    if _is_whole(values):
        return bool(np.abs(values).max() <= _LARGEST_WHOLE)
    used = np.abs(values[values != 0])
    multiples = used / used.min()
    if used.size < 6 or multiples.max() > _LARGEST_MULTIPLE:
        return False
    return bool(np.all(np.abs(multiples - np.rint(multiples)) <= weight.slack(used) / used.min()))


def _is_whole(values: Floats) -> bool:
    return bool(np.all(values == np.rint(values)))


def is_orthogonal(weight: WeightNumbers) -> bool:
    """Rows or columns of few different magnitudes that are orthogonal to each other.

    Random signs are not: in eight rows of 64 all 28 products are 0 once in 10^28 times.
    """
    if not _has_few_magnitudes(weight.head) or not _has_few_magnitudes(weight.sample):
        return False
    rows, columns = weight.rows, weight.columns
    matrix = rows if rows.count <= rows.length else columns
    return min(matrix.count, matrix.length) >= 8 and matrix.count <= matrix.length and _are_orthogonal(matrix)


def _has_few_magnitudes(values: Floats) -> bool:
    magnitudes = np.abs(values)
    largest = magnitudes.max()
    return bool(largest > 0) and len(np.unique(np.rint(magnitudes / largest * 256))) <= FEW_MAGNITUDES


def _are_orthogonal(matrix: Rows) -> bool:
    """Whether all products are 0 because they cancel out, not because no two rows use the same inputs."""
    for places in (np.arange(8), matrix.spread(_ORTHOGONAL_ROWS)):
        rows = matrix.at(places)
        rows = rows / np.abs(rows).max()
        products = rows @ rows.T
        norms = np.diag(products)
        if not norms.all() or np.abs(products - np.diag(norms)).max() > 0.01 * norms.min():
            return False
    overlap = np.abs(rows) @ np.abs(rows).T
    return bool(np.count_nonzero(overlap) > len(rows))

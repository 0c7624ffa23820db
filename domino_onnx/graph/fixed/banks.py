"""Is a weight a bank of triangular filters, or a conversion of colours?"""

from __future__ import annotations

import itertools

import numpy as np

from domino_onnx.graph.fixed.numbers import Floats, WeightNumbers

__all__ = ["is_colour_conversion", "is_filter_bank"]

_GREY = np.array(
    [
        (0.299, 0.587, 0.114),  # ITU-R BT.601
        (0.2126, 0.7152, 0.0722),  # BT.709
        (0.2627, 0.6780, 0.0593),  # BT.2020
    ]
)
"""How much red, green and blue count for how bright a colour is."""
_GREY_ROUNDED = 1e-3
_FILTERS = 8


def is_filter_bank(weight: WeightNumbers) -> bool:
    """At least 8 filters, none negative, each of one rise and one fall, at rising places (mel: O'Shaughnessy 1987)."""
    if weight.head.min() < 0 or weight.sample.min() < 0 or 2 * np.count_nonzero(weight.sample) > weight.sample.size:
        return False
    outputs, inputs, positions = weight.shape
    if positions > 1 or min(outputs, inputs) < _FILTERS or weight.flat.min() < 0:
        return False
    matrix = weight.filters[:, :, 0]
    return _are_triangles(matrix) or _are_triangles(matrix.T)


def _are_triangles(filters: Floats) -> bool:
    """Whether (filters, bins), none negative, are each one rise and one fall, one after the other; few may be empty."""
    filled = filters[filters.any(axis=1)] / filters.max()
    if len(filled) < max(_FILTERS, 0.75 * len(filters)):
        return False
    used = filled > 0
    widths = used.sum(axis=1)
    first, last = used.argmax(axis=1), filled.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    centres = filled @ np.arange(filled.shape[1]) / filled.sum(axis=1)
    in_order = bool(np.all(np.diff(first) >= 0) and np.all(np.diff(last) >= 0) and np.all(np.diff(centres) >= 0))
    contiguous = bool(np.all(widths == last - first + 1)) and widths.mean() >= 2 and 2 * widths.mean() <= used.shape[1]
    return in_order and contiguous and _rise_and_fall(filled)


def _rise_and_fall(filters: Floats) -> bool:
    changes = np.diff(filters, axis=1)
    least = 1e-3 * filters.max(axis=1, keepdims=True)
    has_fallen = np.maximum.accumulate(changes < -least, axis=1)
    return not bool(np.any(has_fallen & (changes > least)))


def is_colour_conversion(weight: WeightNumbers) -> bool:
    """RGB or BGR to grey, YUV or YCbCr, or back, in any range of values (ITU-R BT.601, BT.709, BT.2020)."""
    outputs, inputs, positions = weight.shape
    if positions > 1 or {outputs, inputs} not in ({1, 3}, {3}):
        return False
    matrix = weight.filters[:, :, 0] / np.abs(weight.flat).max()
    if weight.values.size == 3:
        return inputs == 3 and _is_grey(matrix[0])
    there = (matrix, matrix.T)
    back = [np.linalg.inv(one) for one in there if abs(np.linalg.det(one)) > 1e-3]
    return any(_has_brightness_and_differences(one) for one in itertools.chain(there, back))


def _has_brightness_and_differences(matrix: Floats) -> bool:
    """Whether one row is the brightness, and the others are 0 for grey."""
    sums = np.abs(matrix.sum(axis=1)) <= 0.01 * np.abs(matrix).max(axis=1)
    return int(sums.sum()) == 2 and _is_grey(matrix[int(np.argmin(sums))])


def _is_grey(row: Floats) -> bool:
    total = row.sum()
    if not total:
        return False
    shares = row / total
    return any(np.abs(shares - known).max() <= _GREY_ROUNDED for known in (*_GREY, *_GREY[:, ::-1]))

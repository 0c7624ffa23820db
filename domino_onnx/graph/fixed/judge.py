"""Which kinds of fixed functions are looked for, in which order?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.graph.fixed.banks import is_colour_conversion, is_filter_bank
from domino_onnx.graph.fixed.first_look import looks_trained
from domino_onnx.graph.fixed.numbers import WeightNumbers
from domino_onnx.graph.fixed.patterns import (
    is_constant,
    is_evenly_spaced,
    is_orthogonal,
    is_selection,
    is_small_and_whole,
    repeats_filters,
)
from domino_onnx.graph.fixed.waves import is_sinusoids
from domino_onnx.graph.operators import WeightView
from domino_onnx.scheme import StoredNumbers

__all__ = ["fixed_function"]

_KINDS: tuple[tuple[Callable[[WeightNumbers], bool], str], ...] = (
    (is_colour_conversion, "a conversion of colours"),
    (is_evenly_spaced, "evenly spaced numbers, as the bins of an expected value are"),
    (is_constant, "one value everywhere, which sums or averages"),
    (is_selection, "an identity, a permutation or another selection of its inputs"),
    (repeats_filters, "the same filters for all channels, as blurs and interpolations have"),
    (is_small_and_whole, "a few small whole numbers, as Sobel's and Haar's filters are"),
    (is_orthogonal, "an orthogonal transform of few different values, as Hadamard's and Haar's are"),
    (is_filter_bank, "a bank of triangular filters, as mel spectra have"),
    (is_sinusoids, "sines or cosines, as a Fourier or cosine transform has"),
)


def fixed_function(values: NDArray[np.generic], view: WeightView, numbers: StoredNumbers) -> str | None:
    """Which fixed function a weight is, None for a trained one.

    Few values are read of a weight that isn't one.

    Parameters
    ----------
    values
        As they are stored, finite. Integers are judged by the floats that they encode.
    view
        How the operator reads the weight.
    numbers
        What the values can be.
    """
    if not values.size:
        return None
    weight = WeightNumbers(values, view, numbers)
    with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest number, which are no function
        if looks_trained(weight) or not (weight.head.any() or weight.flat.any()):
            return None
        return next((what for recognises, what in _KINDS if recognises(weight)), None)

"""Does a weight hold sines and cosines of evenly spaced frequencies, with or without a window?

Each row is taken for a sine or cosine of any phase and size at a frequency that its number gives. All rows share one
window. Window and rows are fitted in turn by least squares; only rows that really are so leave no remainder.
"""

from __future__ import annotations

import numpy as np

from domino_onnx.graph.fixed.numbers import Floats, Rows, WeightNumbers

__all__ = ["is_sinusoids"]

_LEAST, _LEAST_WINDOWED, _MOST_LONG = 4, 8, 1 << 14
_ROWS, _ROUNDS = 32, 8
_REMAINDER = 0.01
"""Of the norm: 8-bit integers are off by less, and so are sines of large arguments in float32."""


def is_sinusoids(weight: WeightNumbers) -> bool:
    """Bases of DFT, DCT, MDCT and their inverses: any rows of a basis, in order, cosines and sines apart or in turn."""
    return _are_sinusoids(weight.rows) or _are_sinusoids(weight.columns)


def _are_sinusoids(matrix: Rows) -> bool:
    if matrix.count < _LEAST or not _LEAST <= matrix.length <= _MOST_LONG or matrix.count > 2 * matrix.length + 4:
        return False
    if not _have_one_frequency(matrix.at(np.unique([matrix.count // 3, matrix.count // 5, 2 * matrix.count // 3]))):
        return False
    places = matrix.spread(_ROWS)
    rows = matrix.at(places).astype(np.float64)
    rows /= np.abs(rows).max() or 1.0
    if np.count_nonzero(rows.any(axis=1)) < _LEAST - 1:
        return False
    return any(_fit(rows, steps[places]) for steps in _frequencies(matrix.count, matrix.length))


def _have_one_frequency(rows: Floats) -> bool:
    """Whether most of each row's power is near one frequency, as a cheap first look."""
    rows = rows[rows.any(axis=1)].astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(rows)) ** 2
    width = max(2, rows.shape[1] // 16)
    apart = np.abs(np.arange(power.shape[1]) - power.argmax(axis=1)[:, None])
    return bool(np.all(np.where(apart <= width, power, 0).sum(axis=1) >= 0.8 * power.sum(axis=1)))


def _frequencies(count: int, length: int) -> list[Floats]:
    """(count,) each, in radians a sample: what the rows of the known transforms have."""
    row, half = np.arange(count), count // 2
    found: list[Floats] = [
        np.pi * row / length,
        np.pi * (2 * row + 1) / (2 * length),
        np.pi * (2 * row + 1) / length,
    ]  # DCT, MDCT
    for samples in {length, 2 * (half - 1), 2 * (count - 1)} - {0}:  # of the DFT; a window may be shorter
        step = 2 * np.pi / samples
        found += [step * row, step * (row % half), step * (row // 2), step * (row + 1), step * (row % half + 1)]
    return found


def _fit(rows: Floats, frequencies: Floats) -> bool:
    """Whether (rows, samples) are a window times waves of these frequencies."""
    angles = frequencies[:, None] * np.arange(rows.shape[1])
    waves = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    window = np.ones(rows.shape[1])
    has_window = min(rows.shape) >= _LEAST_WINDOWED
    norm = np.linalg.norm(rows)
    for turn in range(_ROUNDS if has_window else 1):
        windowed = waves * window
        gram = windowed @ windowed.swapaxes(1, 2)
        sizes = np.linalg.pinv(gram, rcond=1e-6, hermitian=True) @ (windowed @ rows[:, :, None])
        fitted = (sizes * waves).sum(axis=1)
        remainder = np.linalg.norm(rows - window * fitted) / norm
        if remainder <= _REMAINDER:
            return True
        if turn == 2 and remainder > 0.5:
            return False
        power = (fitted**2).sum(axis=0)
        window = np.divide((rows * fitted).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    return False

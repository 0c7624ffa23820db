"""Rows of a table: columns of mixed kinds that depend on each other; and features of which only the shape is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.spectra import power_law_noise

__all__ = ["draw_features", "draw_row"]

Floats = NDArray[np.float32]
_FACTORS = 8
_OWN = 0.5
"""Standard deviation of what a column has for itself, where factors have 1."""
_KINDS = ("normal", "skewed", "count", "binary", "level")
_SHARES = (0.6, 0.15, 0.1, 0.1, 0.05)
_SLOPES = (0.0, 1.5)


def draw_row(generator: np.random.Generator, columns: int, seed: Sequence[int]) -> Floats:
    """(columns,) one row.

    A few hidden factors drive all columns, as in factor analysis (Spearman 1904). Most columns are normal. Others are
    skewed, counts, binary, or one of some levels; each has about mean 0 and standard deviation 1.

    Parameters
    ----------
    seed
        Decides what columns are and how they depend on factors: the same for all rows of a table.
    """
    table = np.random.default_rng(seed)
    kinds = table.choice(len(_KINDS), columns, p=_SHARES)
    loadings = table.standard_normal((columns, _FACTORS)) / np.sqrt(_FACTORS)
    cuts = table.uniform(-1, 1, columns)
    hidden = loadings @ generator.standard_normal(_FACTORS)
    z = (hidden + _OWN * generator.standard_normal(columns)) / np.sqrt(1 + _OWN**2)
    skewed, count = (np.exp(z) - 1.65) / 2.16, np.floor(np.exp(0.7 * z + 0.5)) - 1.6
    binary, level = np.where(z > cuts, 1.0, -1.0), np.round(2 * z) / 2
    return np.choose(kinds, [z, skewed, count, binary, level]).astype(np.float32)


def draw_features(generator: np.random.Generator, shape: Sequence[int]) -> Floats:
    """Values of about mean 0 and deviation 1 that change slowly along all axes but the last.

    They are noise of a random slope with a mean and a scale of the sample's own, so that samples differ.
    """
    if not shape:
        return generator.standard_normal((), dtype=np.float32)
    *places, width = shape
    if not places or min(shape) == 0:
        return generator.standard_normal(tuple(shape), dtype=np.float32)
    smooth = power_law_noise(generator, width, places, generator.uniform(*_SLOPES)) if np.prod(places) > 1 else 0
    offsets = generator.standard_normal((width, *([1] * len(places))), dtype=np.float32)
    mixed = (0.8 * smooth + 0.6 * offsets) * np.exp(generator.normal(0, 0.3))
    return np.moveaxis(np.broadcast_to(mixed, (width, *places)), 0, -1).astype(np.float32)

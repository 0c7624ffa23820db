"""Noise whose spectrum falls with frequency as that of natural signals does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["frequencies", "power_law_noise", "smoothed"]

Floats = NDArray[np.float32]
_TINY = 1e-9


def frequencies(shape: Sequence[int]) -> NDArray[np.float64]:
    """Distance of each place of `numpy.fft.rfftn` from frequency 0, in cycles a sample."""
    axes = [*(np.fft.fftfreq(size) for size in shape[:-1]), np.fft.rfftfreq(shape[-1])]
    grids = np.meshgrid(*axes, indexing="ij", sparse=True)
    squares: NDArray[np.float64] = sum((grid**2 for grid in grids), start=np.zeros(()))
    return np.sqrt(squares)


def power_law_noise(generator: np.random.Generator, count: int, shape: Sequence[int], exponent: float) -> Floats:
    """Gaussian noise with amplitudes that fall as 1 / frequency ** exponent.

    Photographs have an exponent near 1 (Field 1987), speech and music one near 0.5 (Voss and Clarke 1975).

    Parameters
    ----------
    count
        Fields that have nothing to do with each other.
    shape
        Of one field, in as many axes as wanted.

    Returns
    -------
    (count, *shape) float32; each field has mean 0 and standard deviation 1.
    """
    axes = tuple(range(1, len(shape) + 1))
    white = generator.standard_normal((count, *shape), dtype=np.float32)
    distance = frequencies(shape)
    distance.flat[0] = np.inf  # the mean is no part of it
    with np.errstate(divide="ignore"):
        spectrum = np.fft.rfftn(white, axes=axes) * (distance**-exponent)
    fields = np.fft.irfftn(spectrum, s=tuple(shape), axes=axes)
    fields /= fields.std(axis=axes, keepdims=True) + _TINY
    return fields.astype(np.float32)


def smoothed(planes: Floats, width: float) -> Floats:
    """(count, height, width) planes under a Gaussian of this standard deviation in pixels, edges repeated."""
    reach = int(3 * width) + 1
    padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    response = np.exp(-2 * (np.pi * width * frequencies(padded.shape[1:])) ** 2)
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * response, s=padded.shape[1:])
    return blurred[:, reach:-reach, reach:-reach].astype(np.float32)

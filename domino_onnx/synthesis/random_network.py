"""Pictures by a random network: noise grows from 4 x 4 through untrained convolutions (Baradad et al. 2021)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.leaves import coloured

__all__ = ["draw_by_network"]

Floats = NDArray[np.float32]
_CHANNELS: Final = 16
_TAPS: Final = [(down, right) for down in range(3) for right in range(3)]
_FIRST: Final = 4
_LARGEST: Final = 64
"""Side up to which there are convolutions; from there on the picture is only enlarged."""
_LEAK: Final = np.float32(0.2)
_CONTRAST: Final = (25.0, 80.0)
_TINY: Final = 1e-5


def draw_by_network(generator: np.random.Generator, height: int, width: int) -> Floats:
    """(3, height, width) the sum of what each resolution of a random network shows; about 0 to 255."""
    values = generator.standard_normal((_CHANNELS, _FIRST, _FIRST), dtype=np.float32)
    picture = np.zeros((3, _FIRST, _FIRST), np.float32)
    while True:
        values = _layer(generator, values)
        colours = generator.standard_normal((3, _CHANNELS), dtype=np.float32)
        picture = picture + np.tensordot(colours, values, 1)
        if picture.shape[1] >= min(max(height, width), _LARGEST):
            break
        values, picture = _doubled(values), _doubled(picture)
    while picture.shape[1] < max(height, width):
        picture = _doubled(picture)
    mixed = coloured(generator, _standardised(picture[:, :height, :width]))
    ground = 128 + generator.normal(0, 25, (3, 1, 1))
    return (ground + mixed * generator.uniform(*_CONTRAST)).astype(np.float32)


def _layer(generator: np.random.Generator, values: Floats) -> Floats:
    """A random convolution with noise of its own, then a leaky ReLU, then a random scale and offset a channel."""
    kernel = generator.standard_normal((_CHANNELS, _CHANNELS * len(_TAPS)), dtype=np.float32)
    noise = generator.standard_normal((1, *values.shape[1:]), dtype=np.float32)
    bias, grain, scale, offset = generator.standard_normal((4, _CHANNELS, 1, 1), dtype=np.float32)
    fan_in = np.float32(_CHANNELS * len(_TAPS))
    grown = _convolved(kernel * np.sqrt(2 / fan_in), values) + 0.5 * bias + 0.2 * grain * noise
    active = _standardised(np.where(grown > 0, grown, _LEAK * grown))
    shown: Floats = active * np.exp(0.5 * scale) + 0.3 * offset
    return shown


def _convolved(kernel: Floats, values: Floats) -> Floats:
    """(channels, side, side) 3 x 3 convolution of a plane without borders."""
    _, height, width = values.shape
    around = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="wrap")
    shifted = np.stack([around[:, down : down + height, right : right + width] for down, right in _TAPS], axis=1)
    return (kernel @ shifted.reshape(-1, height * width)).reshape(-1, height, width)


def _doubled(planes: Floats) -> Floats:
    """Twice as large, smoothed by (1, 2, 1) / 4 along both axes."""
    for axis in (1, 2):
        larger = np.repeat(planes, 2, axis)
        around = np.pad(larger, [(int(axis == each),) * 2 for each in range(3)], mode="edge")
        before, here, after = (np.take(around, range(start, start + larger.shape[axis]), axis) for start in range(3))
        planes = (before + 2 * here + after) / np.float32(4)
    return planes


def _standardised(planes: Floats) -> Floats:
    """Each plane with mean 0 and deviation 1."""
    centred = planes - planes.mean(axis=(1, 2), keepdims=True)
    scaled: Floats = centred / (centred.std(axis=(1, 2), keepdims=True) + np.float32(_TINY))
    return scaled

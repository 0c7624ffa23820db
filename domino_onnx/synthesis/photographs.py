"""Crops of the few photographs that installed packages bring.

One photograph, cropped in many ways, has much of what a network looks for in all of them (Asano and Saeed, The
Augmented Image Prior, ICLR 2023). None is part of this package.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.pillow import has_pillow, pillow

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["crop", "has_photographs", "recoloured"]

Floats = NDArray[np.float32]
_PLACES: Final = {
    "skimage": (
        *("data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/motorcycle_left.png"),
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
"""Photographs in colour of scikit-image and scikit-learn, by the package's folder."""
_SHARES: Final = (0.016, 0.9)
"""Of a photograph's area that a crop has: evenly in the logarithm."""
_STRETCH: Final = 4 / 3
"""By how much a crop may be too wide or too high."""
_TURNED: Final = 0.7
"""Share of crops whose hue is turned: a few photographs have few colours."""
_SATURATION: Final = 0.4
_CONTRAST: Final = 0.25
"""Standard deviations of the logarithm."""
_BRIGHTNESS: Final = 25.0
_HUE: Final = np.array([[2, -1, -1], [0, 3**0.5, -(3**0.5)]]) / 6**0.5
"""(2, 3) two directions of colour, of length 1, across that of grey."""


def has_photographs() -> bool:
    """Whether scikit-image, or at least scikit-learn, is installed with its photographs, and Pillow to read them."""
    return has_pillow() and bool(_paths())


def crop(generator: np.random.Generator, height: int, width: int) -> Floats:
    """(3, height, width) pixels of 0 to 255: a part of one of the photographs, as it may look in other light.

    Raises
    ------
    IndexError
        If there are none: see `has_photographs`.
    """
    photographs = _photographs()
    photograph = photographs[generator.integers(len(photographs))]
    seen = _part(generator, photograph, height, width)
    if generator.random() < 0.5:
        seen = seen[:, :, ::-1]
    angle = generator.uniform(0, 2 * np.pi) if generator.random() < _TURNED else 0.0
    seen = recoloured(seen, angle, np.exp(generator.normal(0, _SATURATION)))
    contrast, brightness = np.exp(generator.normal(0, _CONTRAST)), generator.normal(0, _BRIGHTNESS)
    lit: Floats = (seen - 128) * np.float32(contrast) + np.float32(128 + brightness)
    return np.clip(lit, 0, 255)


def recoloured(picture: Floats, angle: float, saturation: float) -> Floats:
    """(3, height, width) the same light, the mean of the channels; colours turned by an angle and scaled."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mixing = np.full((3, 3), 1 / 3) + saturation * _HUE.T @ turn @ _HUE
    seen: Floats = np.tensordot(mixing.astype(np.float32), picture, 1)
    return seen


def _part(generator: np.random.Generator, photograph: Image, height: int, width: int) -> Floats:
    """Between a 60th and nine tenths of a photograph, in about the shape that is wanted, scaled to it."""
    across, down = photograph.size
    share = np.exp(generator.uniform(*np.log(_SHARES)))
    stretch = np.exp(generator.uniform(-1, 1) * np.log(_STRETCH))
    area, shape = share * across * down, stretch * width / height
    wide = min(max((area * shape) ** 0.5, min(width, across)), across)
    high = min(max((area / shape) ** 0.5, min(height, down)), down)
    left, top = generator.uniform(0, across - wide), generator.uniform(0, down - high)
    part = photograph.resize((width, height), pillow("Image").Resampling.BICUBIC, (left, top, left + wide, top + high))
    return np.asarray(part, np.float32).transpose(2, 0, 1)


@functools.cache
def _photographs() -> tuple[Image, ...]:
    """All that there are, some 6 MB."""
    return tuple(pillow("Image").open(path).convert("RGB") for path in _paths())


def _paths() -> list[Path]:
    found = []
    for package, names in _PLACES.items():
        spec = importlib.util.find_spec(package)
        for folder in () if spec is None else spec.submodule_search_locations or ():
            found += [path for path in (Path(folder, name) for name in names) if path.is_file()]
    return found

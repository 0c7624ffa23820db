"""Pictures of nothing, with the statistics of photographs: dead leaves, then light, grain and blur.

Where there are photographs to crop, their crops are drawn instead, half of them with leaves shining through. Where
images have the shape of a line of text, text is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.leaves import LeafLaw, coloured, draw_leaves
from domino_onnx.synthesis.photographs import crop
from domino_onnx.synthesis.spectra import power_law_noise, smoothed
from domino_onnx.synthesis.text_lines import draw_line

__all__ = ["LAW", "Motif", "develop", "draw_picture"]

Motif: TypeAlias = Literal["shapes", "photographs", "text"]
"""What pictures show: dead leaves, crops of photographs that installed packages bring, or a line of words."""

Floats = NDArray[np.float32]
LAW: Final = LeafLaw(fewest=10, most=60, smallest=0.04, largest=0.8)
"""docs/decisions/synthesis.md has what other laws gave."""
_SLOPES: Final = (0.6, 1.6)
_GRAIN: Final = (2.0, 45.0)
_LIGHT: Final = 20.0
_CONTRAST: Final = (0.5, 1.2)
_BRIGHTNESS: Final = 25.0
_BLUR: Final = (0.2, 0.8)
"""Standard deviation in pixels of a picture with sides of 64."""
_MIXED: Final = 0.5
"""Share of crops of photographs that leaves shine through."""
_THROUGH: Final = (0.3, 0.7)
"""How much of a mixed picture is leaves."""
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""What each colour counts for light (ITU-R BT.601)."""


def draw_picture(
    generator: np.random.Generator, height: int, width: int, channels: int, motif: Motif = "shapes"
) -> Floats:
    """(channels, height, width) pixels of 0 to 255: grey for one channel, RGB for three, and a fourth that is full."""
    picture = _MOTIFS[motif](generator, height, width)
    if channels == 1:
        return np.tensordot(_GREY, picture, 1)[None]
    opaque = np.full((max(channels - 3, 0), height, width), 255, np.float32)
    return np.concatenate([picture, opaque])


def develop(generator: np.random.Generator, picture: Floats) -> Floats:
    """(3, height, width) the picture as a camera may see it: grain, light from a side, contrast, brightness, blur."""
    _, height, width = picture.shape
    grain = power_law_noise(generator, 3, (height, width), generator.uniform(*_SLOPES))
    seen = picture + coloured(generator, grain) * np.float32(generator.uniform(*_GRAIN))
    down, right = (np.linspace(-1, 1, size, dtype=np.float32) for size in (height, width))
    light = generator.normal(0, _LIGHT, 2).astype(np.float32)
    seen = seen + light[0] * down[:, None] + light[1] * right
    seen = (seen - 128) * np.float32(generator.uniform(*_CONTRAST)) + np.float32(128 + generator.normal(0, _BRIGHTNESS))
    if generator.random() < 0.5:
        seen = smoothed(np.clip(seen, 0, 255), generator.uniform(*_BLUR) * min(height, width) / 64)
    return np.clip(seen, 0, 255)


def _leaves(generator: np.random.Generator, height: int, width: int) -> Floats:
    return develop(generator, draw_leaves(generator, height, width, LAW))


def _crop(generator: np.random.Generator, height: int, width: int) -> Floats:
    picture = crop(generator, height, width)
    if generator.random() < _MIXED:
        picture += np.float32(generator.uniform(*_THROUGH)) * (_leaves(generator, height, width) - picture)
    return picture


_MOTIFS: Final[Mapping[Motif, Callable[[np.random.Generator, int, int], Floats]]] = {
    "shapes": _leaves,
    "photographs": _crop,
    "text": draw_line,
}

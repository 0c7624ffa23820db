"""Lines of text, as recognisers of text get them: random words in the font that Pillow brings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.leaves import LeafLaw, draw_leaves
from domino_onnx.synthesis.pillow import has_pillow, pillow
from domino_onnx.synthesis.spectra import smoothed

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["draw_line", "has_font", "is_a_line"]

Floats = NDArray[np.float32]
_HEIGHTS: Final = (16, 96)
_WIDER: Final = 3
"""So many times as wide as high is a line of text."""
_LETTERS: Final = "etaoinshrdlcumwfgypbvkjxqz"
"""By how often they come in English (Lewand 2000); how often follows Zipf's law here, flattened."""
_FLAT: Final = 6.0
_DIGITS: Final = "0123456789"
_MARKS: Final = ".,:;!?-/%&()"
_LENGTHS: Final = (2, 11)
_NUMBER, _CAPITAL, _CAPITALS, _MARKED = 0.15, 0.3, 0.15, 0.2
"""Shares of words: numbers, a first letter or all letters large, a mark behind."""
_SIZE: Final = (0.6, 0.95)
"""Of the font, in heights of the line."""
_STRETCH: Final = (0.75, 1.25)
_SHEAR: Final = 0.25
_FULL: Final = (0.3, 1.0)
"""Share of the width that words have room on."""
_PADDED: Final = 0.5
"""Share of lines behind which there is the grey that becomes 0."""
_GREY: Final = 127.0
_LEAST_CONTRAST: Final = 50.0
_SPOTTED, _SPOTS = 0.4, 0.3
"""Share of papers with a pattern, and how strong it is."""
_GRAIN: Final = 12.0
_BLUR: Final = (0.2, 0.9)
"""Standard deviation in pixels of a line 48 pixels high."""
_LAW: Final = LeafLaw(fewest=5, most=20, smallest=0.1, largest=0.9)


def has_font() -> bool:
    """Whether Pillow is installed with the library that draws fonts."""
    return has_pillow() and bool(pillow("features").check("freetype2"))


def is_a_line(height: int, width: int) -> bool:
    """Whether images of this size are likely to be lines of text."""
    return _HEIGHTS[0] <= height <= _HEIGHTS[1] and width >= _WIDER * height


def draw_line(generator: np.random.Generator, height: int, width: int) -> Floats:
    """(3, height, width) pixels of 0 to 255: words at the left, behind them paper or the grey of padding."""
    used = max(round(generator.uniform(*_FULL) * width), height)
    ink, paper = _colours(generator)
    covered = np.zeros((height, width), np.float32)
    covered[:, :used] = _written(generator, height, min(used, width))
    line = np.broadcast_to(paper[:, None, None], (3, height, width))
    if generator.random() < _SPOTTED:
        spots = draw_leaves(generator, height, width, _LAW)
        line = line + np.float32(_SPOTS) * (spots - spots.mean())
    line = line + covered * (ink[:, None, None] - line)
    line = line + generator.normal(0, generator.uniform(0, _GRAIN), line.shape).astype(np.float32)
    line = smoothed(np.clip(line, 0, 255), generator.uniform(*_BLUR) * height / 48)
    if generator.random() < _PADDED:
        line[:, :, used:] = _GREY
    return np.clip(line, 0, 255)


def _colours(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Of ink and paper, (3,) each. Ink is the darker one in three of four lines."""
    while True:
        first, second = generator.uniform(0, 255, (2, 1)) + generator.normal(0, 25, (2, 3))
        darker, lighter = sorted(np.clip([first, second], 0, 255).astype(np.float32), key=np.mean)
        if lighter.mean() - darker.mean() >= _LEAST_CONTRAST:
            return (darker, lighter) if generator.random() < 0.75 else (lighter, darker)


def _written(generator: np.random.Generator, height: int, width: int) -> Floats:
    """(height, width) how much of each pixel is ink."""
    image, drawing = pillow("Image"), pillow("ImageDraw")
    size = max(round(generator.uniform(*_SIZE) * height), 8)
    font, stretch, shear = _font(size), generator.uniform(*_STRETCH), generator.uniform(-_SHEAR, _SHEAR)
    room, margin = width / stretch - 0.4 * height, 0.2 * height
    text = _word(generator)
    while font.getlength(longer := f"{text} {_word(generator)}") <= room:
        text = longer
    canvas = image.new("L", (max(round(width / stretch), 1), height))
    middle = height * generator.uniform(0.46, 0.54)
    drawing.Draw(canvas).text((margin, middle), text, fill=255, font=font, anchor="lm")
    # Of a pixel in the result: where it was. The line leans around its middle.
    where = (1 / stretch, shear, -shear * height / 2, 0, 1, 0)
    leaning = canvas.transform((width, height), image.Transform.AFFINE, where, image.Resampling.BICUBIC)
    return np.asarray(leaning, np.float32) / np.float32(255)


def _word(generator: np.random.Generator) -> str:
    length = int(generator.integers(*_LENGTHS))
    if generator.random() < _NUMBER:
        word = "".join(generator.choice(list(_DIGITS), length))
    else:
        often = 1 / (np.arange(len(_LETTERS)) + _FLAT)
        word = "".join(generator.choice(list(_LETTERS), length, p=often / often.sum()))
        kind = generator.random()
        word = word.upper() if kind < _CAPITALS else word.capitalize() if kind < _CAPITALS + _CAPITAL else word
    return word + (str(generator.choice(list(_MARKS))) if generator.random() < _MARKED else "")


@functools.cache
def _font(size: int) -> FreeTypeFont:
    font: FreeTypeFont = pillow("ImageFont").load_default(size)
    return font

"""Dead leaves: a picture of things that lie in front of each other (Matheron 1968; Lee, Mumford and Huang 2001).

Photographs and pictures of dead leaves have the same statistics of edges, scales and occlusion, where the leaves' sizes
follow the law r^-3. Networks that were trained on them see photographs fairly well (Baradad et al. 2021).
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.outlines import Outline, draw_outlines
from domino_onnx.synthesis.spectra import power_law_noise

__all__ = ["LeafLaw", "draw_leaves", "leaf_sizes"]

Floats = NDArray[np.float32]
_SLOPES: Final = (0.6, 1.6)
_TEXTURED: Final = 0.6
_PALETTE: Final = (2, 7)
_LIGHT: Final = (-20.0, 275.0)
_CHROMA: Final = np.array([[0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]]) * [[35], [17]]
"""In which ways colours of one lightness differ in photographs, and by how much of 255: from yellow to blue, and from
green to purple. They are the lesser principal components of ImageNet's pixels (Krizhevsky et al. 2012, section 4.1)."""
_SATURATION: Final = (-0.3, 0.6)
"""Mean and standard deviation of the logarithm of a picture's saturation, in units of those components."""
_OWN: Final = (0.0, 0.3)
"""What each colour has for itself in textures and grain."""
_SPREAD: Final = 25.0
"""Standard deviation of a leaf's colour around one of its palette, and of its shading, of 255."""
_TEXTURE: Final = (5.0, 50.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeafLaw:
    """How many leaves there are, and how large.

    Attributes
    ----------
    fewest, most
        Evenly in the logarithm.
    smallest, largest
        Radius, as a share of the picture's short side.
    """

    fewest: int
    most: int
    smallest: float
    largest: float


def leaf_sizes(generator: np.random.Generator, count: int, smallest: float, largest: float) -> NDArray[np.float64]:
    """(count,) radii with a density in proportion to r^-3 between two bounds, which makes pictures scale-invariant."""
    return smallest / np.sqrt(1 - generator.random(count) * (1 - (smallest / largest) ** 2))


def draw_leaves(generator: np.random.Generator, height: int, width: int, law: LeafLaw) -> Floats:
    """(3, height, width) leaves of a few colours, many textured and shaded, over a plain ground; about 0 to 255."""
    side = min(height, width)
    count = int(np.exp(generator.uniform(np.log(law.fewest), np.log(law.most))))
    radii = leaf_sizes(generator, count, law.smallest * side, law.largest * side)
    saturation = np.exp(generator.normal(*_SATURATION))
    shades = int(generator.integers(*_PALETTE))
    palette, ground = (draw_colours(generator, generator.uniform(*_LIGHT, each), saturation) for each in (shades, 1))
    around = draw_colours(generator, generator.normal(0, _SPREAD, count), saturation / 2)
    colours = palette[generator.integers(shades, size=count)] + around
    textures = coloured(generator, power_law_noise(generator, 3, (height, width), generator.uniform(*_SLOPES)))
    strengths = generator.uniform(*_TEXTURE, count) * (generator.random(count) < _TEXTURED)
    slopes = generator.normal(0, _SPREAD, (count, 2)) / radii[:, None]
    picture = np.empty((3, height, width), np.float32)
    picture[:] = ground[0, :, None, None]
    for place, outline in enumerate(draw_outlines(generator, radii, height, width)):
        leaf = Leaf(
            colour=colours[place].astype(np.float32),
            slope=slopes[place].astype(np.float32),
            strength=np.float32(strengths[place]),
        )
        _lay(picture, outline, leaf, textures)
    return picture


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A leaf's (3,) colour, how it changes a pixel (down, right), and how strong its texture is."""

    colour: Floats
    slope: Floats
    strength: np.float32


def draw_colours(generator: np.random.Generator, light: NDArray[np.float64], saturation: float) -> NDArray[np.float64]:
    """(count, 3) RGB of this lightness, (count,), with little colour, as in photographs; about 0 to 255."""
    colours: NDArray[np.float64] = light[:, None] + saturation * generator.standard_normal((len(light), 2)) @ _CHROMA
    return colours


def coloured(generator: np.random.Generator, planes: Floats) -> Floats:
    """(3, height, width) planes mixed, so that most of what they show is light and dark, as in photographs."""
    mixing = np.eye(3) * generator.uniform(*_OWN) + generator.uniform(0.4, 1) / 3
    return np.tensordot(mixing.astype(np.float32), planes, 1)


def _lay(picture: Floats, outline: Outline, leaf: Leaf, textures: Floats) -> None:
    """Paint a leaf over what is there, its border softened over a pixel."""
    coverage = outline.coverage()
    if not coverage.size:
        return
    rows, columns = outline.window
    seen = picture[:, rows, columns]
    shading = leaf.slope[0] * outline.down + leaf.slope[1] * outline.right
    paint = leaf.colour[:, None, None] + shading
    if leaf.strength:
        paint = paint + leaf.strength * textures[:, rows, columns]
    seen += coverage * (np.clip(paint, 0, 255) - seen)

"""Outlines of leaves: ellipses, boxes, lines, polygons and blobs, each as a radius by angle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Outline", "draw_outlines"]

Floats = NDArray[np.float32]
_ANGLES: Final = 128
_CORNERS: Final = (3, 7)
_WAVES: Final = 4
_NARROWEST: Final = 0.3
_LINES: Final = 0.25
"""Share of outlines that are drawn out to lines."""
_LENGTHS: Final = (0.05, 0.5)
"""Half the length of a line, as a share of the picture's short side: long edges, as of horizons, walls and stems."""
_LINE_WIDTH: Final = 0.15
_THINNEST: Final = 0.5
"""Half the width of a line in radii, and at least in pixels."""
_UPRIGHT: Final = 0.5
"""Share of other outlines that lie level or upright, as most of what is built or hangs does."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One leaf's place, within the window of a picture that it covers.

    Attributes
    ----------
    window
        Rows and columns of the picture.
    down, right
        (rows, 1) and (1, columns) distances from the leaf's middle, in pixels.
    radii
        (angles + 1,) distance of the border from the middle along the long axis, from -pi to pi.
    turn
        (cosine, sine) of the long axis.
    aspect
        Length of the short axis over that of the long one.
    """

    window: tuple[slice, slice]
    down: Floats
    right: Floats
    radii: Floats
    turn: tuple[np.float32, np.float32]
    aspect: np.float32

    def coverage(self) -> Floats:
        """(rows, columns) share of each pixel that the leaf covers, from its distance to the border."""
        cosine, sine = self.turn
        along = cosine * self.right + sine * self.down
        across = (cosine * self.down - sine * self.right) / self.aspect
        places = (np.arctan2(across, along) + np.float32(np.pi)) * np.float32(_ANGLES / (2 * np.pi))
        lower = np.minimum(places.astype(np.int32), _ANGLES - 1)
        share = places - lower
        border = self.radii[lower] * (1 - share) + self.radii[lower + 1] * share
        distance = border - np.sqrt(along * along + across * across)
        covered: Floats = np.clip(distance * self.aspect + np.float32(0.5), 0, 1)
        return covered


def draw_outlines(
    generator: np.random.Generator, radii: NDArray[np.float64], height: int, width: int
) -> Iterator[Outline]:
    """Outlines of these sizes at random places, turned and flattened at random; those outside have empty windows."""
    count, side = len(radii), min(height, width)
    is_line = generator.random(count) < _LINES
    lengths = np.maximum(generator.uniform(*_LENGTHS, count) * side, radii)
    widths = np.maximum(radii * _LINE_WIDTH, _THINNEST)
    aspects = np.where(is_line, widths / lengths, generator.uniform(_NARROWEST, 1, count))
    shapes = np.where(is_line, lengths, radii)[:, None] * _unit_radii(generator, count)
    turns = generator.uniform(0, np.pi, count)
    is_upright = ~is_line & (generator.random(count) < _UPRIGHT)
    turns = np.where(is_upright, np.pi / 2 * generator.integers(0, 2, count), turns)
    middles = generator.uniform(0, 1, (count, 2)) * (height, width)
    for shape, turn, aspect, (row, column) in zip(shapes, turns, aspects, middles, strict=True):
        reach = float(shape.max()) + 1
        rows = slice(max(int(row - reach), 0), max(min(int(row + reach) + 2, height), 0))
        columns = slice(max(int(column - reach), 0), max(min(int(column + reach) + 2, width), 0))
        yield Outline(
            window=(rows, columns),
            down=np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(row),
            right=np.arange(columns.start, columns.stop, dtype=np.float32)[None] - np.float32(column),
            radii=shape.astype(np.float32),
            turn=(np.float32(np.cos(turn)), np.float32(np.sin(turn))),
            aspect=np.float32(aspect),
        )


def _unit_radii(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, angles + 1) radii of shapes of about unit size: circles, boxes, polygons and blobs in equal parts."""
    angles = np.linspace(-np.pi, np.pi, _ANGLES + 1)
    kinds = generator.integers(4, size=count)
    box = 1 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    found = np.ones((count, _ANGLES + 1))
    found[kinds == 1] = box
    for place in np.flatnonzero(kinds == 2):
        found[place] = _polygon(generator, angles)
    for place in np.flatnonzero(kinds == 3):
        found[place] = _blob(generator, angles)
    return found


def _polygon(generator: np.random.Generator, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polygon around the middle: the nearest of some straight sides in each direction."""
    corners = int(generator.integers(*_CORNERS))
    sides = (np.arange(corners) + generator.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    facing = np.cos(angles - sides[:, None])
    distances = generator.uniform(0.5, 1, corners)[:, None] / np.maximum(facing, 1e-3)
    nearest: NDArray[np.float64] = np.minimum(distances.min(axis=0), 2.0)
    return nearest


def _blob(generator: np.random.Generator, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """A circle with waves, the more of them the lower."""
    waves = np.arange(2, 2 + _WAVES)[:, None]
    heights = generator.normal(0, 0.3, (_WAVES, 1)) / waves
    starts = generator.uniform(0, 2 * np.pi, (_WAVES, 1))
    radii: NDArray[np.float64] = 1 + np.sum(heights * np.cos(waves * angles + starts), axis=0)
    return np.maximum(radii, 0.1)

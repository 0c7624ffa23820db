"""Warped waves: smooth and striped patterns with curved edges, as shaders draw them (Baradad et al. 2022)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_waves"]

Floats = NDArray[np.float32]
_BENDS: Final = (1, 4)
_WAVES: Final = (2, 6)
_SHARPEST: Final = 20.0
_CONTRAST: Final = (20.0, 60.0)
_TURN: Final = 2 * np.pi


def draw_waves(generator: np.random.Generator, height: int, width: int) -> Floats:
    """(3, height, width) some waves, each in a colour of its own, on a plane that was bent; about 0 to 255."""
    down, right = _bent_plane(generator, height, width)
    picture = np.zeros((3, height, width), np.float32)
    for _ in range(int(generator.integers(*_WAVES))):
        wave = _wave(generator, down, right)
        if generator.random() < 0.5:  # an edge instead of a slope
            wave = np.tanh(wave * np.float32(generator.uniform(2, _SHARPEST)))
        picture += wave * generator.standard_normal((3, 1, 1), dtype=np.float32)
    ground = 128 + generator.normal(0, 30, (3, 1, 1))
    return (ground + picture * generator.uniform(*_CONTRAST)).astype(np.float32)


def _bent_plane(generator: np.random.Generator, height: int, width: int) -> tuple[Floats, Floats]:
    """(height, width) coordinates from -1 to 1, each pushed about by sines of the other."""
    lines = (np.linspace(-1, 1, size, dtype=np.float32) for size in (height, width))
    down, right = np.meshgrid(*lines, indexing="ij")
    for _ in range(int(generator.integers(*_BENDS))):
        pace = generator.uniform(0.5 * np.pi, 4 * np.pi, 2).astype(np.float32)
        reach = generator.uniform(0.05, 0.5, 2).astype(np.float32)
        start = generator.uniform(0, _TURN, 2).astype(np.float32)
        right = right + reach[0] * np.sin(pace[0] * down + start[0])
        down = down + reach[1] * np.sin(pace[1] * right + start[1])
    return down, right


def _wave(generator: np.random.Generator, down: Floats, right: Floats) -> Floats:
    """(height, width) values of -1 to 1: stripes, rings, or spots."""
    pace = np.float32(np.exp(generator.uniform(0, 2.5)))
    start = np.float32(generator.uniform(0, _TURN))
    kind = generator.integers(3)
    wave: Floats
    if kind == 0:
        angle = generator.uniform(0, _TURN)
        wave = np.sin(pace * (np.float32(np.cos(angle)) * right + np.float32(np.sin(angle)) * down) + start)
    elif kind == 1:
        middle = generator.uniform(-1, 1, 2).astype(np.float32)
        wave = np.sin(pace * np.hypot(right - middle[0], down - middle[1]) + start)
    else:
        wave = np.sin(pace * right + start) * np.sin(pace * down + start)
    return wave

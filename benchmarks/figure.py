"""Draw docs/patterns.svg: what N:M schemes keep of one weight of the sample network, side by side.

usage: python benchmarks/figure.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import magnitude_mask

ROOT = Path(__file__).parents[1]
WEIGHT = "onnx::Conv_148"  # (64, 32, 1, 1): a shortcut, so a plain matrix
SCHEMES = (None, (1, 2), (2, 4), (8, 16), (4, 16), (2, 16))
ROWS, CELL, COLUMNS, GAP, TITLE = 16, 7, 3, 24, 36
SHADES = ("#cfdcea", "#a3bfd9", "#6b96c0", "#3a6ca0", "#143c66")
FONT = 'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222"'


def main() -> None:
    model = onnx.load(ROOT / "sample_models" / "digits_resnet.onnx")
    weight = next(onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == WEIGHT)
    layout = WeightLayout(tuple(weight.shape), 1)
    panels = []
    for named in SCHEMES:
        scheme = NMScheme(*named) if named else NMScheme(16, 16)
        kept = magnitude_mask(weight, layout, scheme) if named else np.ones(weight.shape, np.bool_)
        energy = float((weight[kept] ** 2).sum() / (weight**2).sum())
        title = f"{scheme}: {1 - kept.mean():.1%} zeros, {energy:.0%} energy kept" if named else "dense"
        panels.append(panel(weight.reshape(len(weight), -1), kept.reshape(len(weight), -1), scheme.m, title))
    (ROOT / "docs" / "patterns.svg").write_text(drawing(panels, weight.shape[1]), encoding="utf-8")


def panel(weight: NDArray[np.float32], kept: NDArray[np.bool_], m: int, title: str) -> str:
    """The first rows of a matrix, darker where larger, white where pruned, with lines between groups."""
    sizes, shown = np.abs(weight)[:ROWS], kept[:ROWS]
    steps = np.quantile(np.abs(weight), np.linspace(0, 1, len(SHADES) + 1)[1:-1])
    shade = np.searchsorted(steps, sizes)
    width, height = weight.shape[1] * CELL, ROWS * CELL
    parts = [f'<text y="-8" {FONT}>{title}</text>']
    for index, colour in enumerate(SHADES):
        cells = zip(*np.nonzero(shown & (shade == index)), strict=True)
        path = "".join(f"M{x * CELL} {y * CELL}h{CELL}v{CELL}h-{CELL}z" for y, x in cells)
        parts.append(f'<path fill="{colour}" d="{path}"/>')
    lines = "".join(f"M{x * CELL} 0v{height}" for x in range(0, weight.shape[1] + 1, m))
    parts.append(f'<path stroke="#888" stroke-width="0.8" fill="none" d="{lines}M0 0h{width}M0 {height}h{width}"/>')
    return "\n".join(parts)


def drawing(panels: list[str], inputs: int) -> str:
    """All panels, row by row."""
    width, height = inputs * CELL + GAP, ROWS * CELL + GAP + TITLE
    places = [(GAP + i % COLUMNS * width, TITLE + i // COLUMNS * height) for i in range(len(panels))]
    total = (GAP + COLUMNS * width, -(-len(panels) // COLUMNS) * height)
    body = "\n".join(f'<g transform="translate({x} {y})">\n{p}\n</g>' for (x, y), p in zip(places, panels, strict=True))
    size = f'width="{total[0]}" height="{total[1]}" viewBox="0 0 {total[0]} {total[1]}"'
    back = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{back}\n{body}\n</svg>\n'


if __name__ == "__main__":
    main()

"""What are a layer's inputs on average? Rounded weights shift its outputs by that, and biases take it back.

Bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.layer import Layer

__all__ = ["InputMeans"]

_Wide = NDArray[np.float64]


class InputMeans:
    """The mean of what each weight of some layers multiplies with, over all places and samples."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._sums: list[_Wide | float] = [0.0] * len(layers)
        self._counts = [0] * len(layers)

    def add(self, activations: Mapping[str, NDArray[Any]]) -> None:
        """The inputs of all layers in one more run."""
        for place, layer in enumerate(self._layers):
            data = activations[layer.data]
            mean, count = _of_image(layer, data) if layer.op == "Conv" else _of_rows(data)
            self._sums[place] += mean * count
            self._counts[place] += count

    def layers(self) -> list[Layer]:
        """The layers, which know their means now; those whose inputs weren't finite know none."""
        return [
            dataclasses.replace(layer, mean=np.asarray(total) / count) if count and np.isfinite(total).all() else layer
            for layer, total, count in zip(self._layers, self._sums, self._counts, strict=True)
        ]


def _of_rows(data: NDArray[Any]) -> tuple[_Wide, int]:
    """(1, inputs)."""
    rows = data.reshape(-1, data.shape[-1])
    return (rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(data.shape[-1]))[None], len(rows)


def _of_image(layer: Layer, data: NDArray[Any]) -> tuple[_Wide, int]:
    """(groups, columns), columns in the order of the layer's rows; padding counts as it does in the sums."""
    how, kernel = layer.geometry, layer.shape[2:]
    axes, groups = len(kernel), how["group"]
    edges = [(how["pads"][axis], how["pads"][axis + axes]) for axis in range(axes)]
    padded = np.pad(data, [(0, 0), (0, 0), *edges])
    reach = [(size - 1) * step for size, step in zip(kernel, how["dilations"], strict=True)]
    means = np.empty((*kernel, data.shape[1]))
    for tap in np.ndindex(*kernel):
        begin = [place * step for place, step in zip(tap, how["dilations"], strict=True)]
        seen = tuple(
            slice(first, first + padded.shape[2 + axis] - reach[axis], how["strides"][axis])
            for axis, first in enumerate(begin)
        )
        part = padded[(slice(None), slice(None), *seen)]
        means[tap] = part.mean(axis=(0, *range(2, 2 + axes)), dtype=np.float64) if part.size else 0
    count = part.size // max(data.shape[1], 1)
    in_groups = means.reshape(math.prod(kernel), groups, -1)
    return np.ascontiguousarray(in_groups.swapaxes(0, 1)).reshape(groups, -1), count

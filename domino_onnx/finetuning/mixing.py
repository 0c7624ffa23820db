"""Mixtures of two samples to learn from: the dense model answers for them too, so that few samples go further.

Mixup (Zhang et al., ICLR 2018) without labels, as function matching has it (Beyer et al., CVPR 2022).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset
from domino_onnx.scheme import NamedArrays

__all__ = ["Mixture", "can_mix", "mixture"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Another sample for each of a batch, and how much the first ones count.

    Attributes
    ----------
    others
        (batch,) int64 sample numbers.
    shares
        (batch,) float32, evenly between 0 and 1.
    """

    others: NDArray[np.int64]
    shares: NDArray[np.float32]

    def __call__(
        self, first: NamedArrays, second: NamedArrays, axes: Mapping[str, int | None] | None = None
    ) -> dict[str, NDArray[Any]]:
        """NamedArrays of the batch mixed with those of the others; the same shapes and dtypes.

        Samples lie along the first axis of those that `axes` doesn't name.
        """
        mixed: dict[str, NDArray[Any]] = {}
        for name, array in first.items():
            shape = np.ones(array.ndim, int)
            shape[(axes or {}).get(name, 0)] = -1
            shares = self.shares.reshape(shape).astype(array.dtype)
            mixed[name] = np.asarray(shares * array + (1 - shares) * second[name])
        return mixed


def mixture(indices: NDArray[np.int64], among: NDArray[np.int64], draw: int) -> Mixture:
    """Mixture number `draw` of each of these samples with one of `among`; the same whatever batch a sample is in."""
    generators = [np.random.default_rng([draw, int(index), 1]) for index in indices]
    return Mixture(
        others=np.array([generator.choice(among) for generator in generators], np.int64),
        shares=np.array([generator.random(dtype=np.float32) for generator in generators], np.float32),
    )


def can_mix(data: Dataset) -> bool:
    """Whether all that tells samples apart is floats: there is nothing between two token numbers."""
    taken = data.take(data.some(1))
    return all(taken[name].dtype.kind == "f" and data.batching.axis(name) is not None for name in data.arrays)

"""The weights of a plan: masked by magnitude when they are asked for, so that only one copy is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, WeightKey, WeightLayout
from domino_onnx.solve.mask import magnitude_mask

__all__ = ["PrunedWeights"]


class PrunedWeights(Mapping[WeightKey, NDArray[np.generic]]):
    """Each weight under its scheme, in the stored dtype and shape, +0.0 where it was pruned.

    Parameters
    ----------
    schemes
        Scheme of each weight; dense ones are left out of the mapping, since nothing changes in them.
    layouts
        Layout of each weight.
    load
        Gives the dense weight.
    """

    def __init__(
        self,
        schemes: Mapping[WeightKey, NMScheme],
        layouts: Mapping[WeightKey, WeightLayout],
        load: Callable[[WeightKey], NDArray[np.generic]],
    ) -> None:
        self._schemes = {key: scheme for key, scheme in schemes.items() if not scheme.is_dense}
        self._layouts = layouts
        self._load = load

    def __getitem__(self, key: WeightKey) -> NDArray[np.generic]:
        weight = self._load(key)
        mask = magnitude_mask(weight, self._layouts[key], self._schemes[key])
        return np.where(mask, weight, weight.dtype.type(0))

    def __iter__(self) -> Iterator[WeightKey]:
        return iter(self._schemes)

    def __len__(self) -> int:
        return len(self._schemes)

"""The weights of a plan: masked by magnitude when they are asked for, so that only one copy is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, Site, WeightKey
from domino_onnx.solve.mask import magnitude_mask, masked

__all__ = ["PrunedWeights"]


class PrunedWeights(Mapping[WeightKey, NDArray[np.generic]]):
    """Each weight under its scheme, in the stored dtype and shape, +0.0 where it was pruned.

    Parameters
    ----------
    schemes
        Scheme of each weight; dense ones are left out of the mapping, since nothing changes in them.
    sites
        The sites of these weights, and others.
    load
        Gives the dense weight as it is stored.
    """

    def __init__(
        self,
        schemes: Mapping[WeightKey, NMScheme],
        sites: Iterable[Site],
        load: Callable[[WeightKey], NDArray[np.generic]],
    ) -> None:
        self._schemes = {key: scheme for key, scheme in schemes.items() if not scheme.is_dense}
        self._sites = {site.key: site for site in sites}
        self._load = load

    def __getitem__(self, key: WeightKey) -> NDArray[np.generic]:
        weight, site = self._load(key), self._sites[key]
        mask = magnitude_mask(site.numbers.floats(weight), site.layout, self._schemes[key])
        return masked(weight, mask)

    def __contains__(self, key: object) -> bool:
        return key in self._schemes

    def __iter__(self) -> Iterator[WeightKey]:
        return iter(self._schemes)

    def __len__(self) -> int:
        return len(self._schemes)

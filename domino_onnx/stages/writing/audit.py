"""What new weights are, noted while they are written: each is asked for as seldom as can be, and none is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import (
    ManifestEntry,
    NMScheme,
    Site,
    WeightArrays,
    WeightKey,
    mask_sha256,
    scales_sha256,
    values_sha256,
)
from domino_onnx.targets import TwoFourCost, TwoFourPart

__all__ = ["Audit"]


class Audit(Mapping[WeightKey, NDArray[np.generic]]):
    """New values of stored tensors, and what is noted of each site's when it is first asked for.

    Parameters
    ----------
    values
        Of the sites that were pruned, and of other tensors.
    scales
        What quantises sites on the way to their readers, as `domino_onnx.graph.quantisers` gives it.
    fours
        Whether to find out what TensorRT's rule would cost.
    """

    def __init__(
        self,
        values: WeightArrays,
        sites: Iterable[Site],
        schemes: Mapping[WeightKey, NMScheme],
        *,
        scales: Mapping[WeightKey, Sequence[NDArray[np.generic]]],
        fours: bool,
    ) -> None:
        self._values = values
        self._sites = {site.key: site for site in sites if site.key in values}
        self._schemes = schemes
        self._scales = scales
        self._fours = fours
        self._entries: dict[WeightKey, ManifestEntry] = {}
        self._parts: dict[WeightKey, TwoFourPart | None] = {}

    @property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """Of all pruned sites, in their order. Those that nothing has asked for yet are asked for now."""
        for key in self._sites.keys() - self._entries.keys():
            self[key]
        return tuple(self._entries[key] for key in self._sites)

    @property
    def two_four(self) -> TwoFourCost | None:
        """What TensorRT's rule would cost; None if that wasn't to be found out."""
        return TwoFourCost.of(self._parts[entry.key] for entry in self.entries) if self._fours else None

    def __getitem__(self, key: WeightKey) -> NDArray[np.generic]:
        values = self._values[key]
        site = self._sites.get(key)
        if site is not None and key not in self._entries:
            self._note(site, values)
        return values

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[WeightKey]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _note(self, site: Site, values: NDArray[np.generic]) -> None:
        kept = values != 0
        self._entries[site.key] = ManifestEntry(
            key=site.key,
            layout=site.layout,
            scheme=self._schemes[site.key],
            zeros=kept.size - int(np.count_nonzero(kept)),
            mask_sha256=mask_sha256(kept),
            values_sha256=values_sha256(values),
            scales_sha256=scales_sha256(self._scales.get(site.key, ())),
        )
        if self._fours:
            self._parts[site.key] = TwoFourPart.of(site, values)

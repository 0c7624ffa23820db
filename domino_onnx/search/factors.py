"""How strongly does the search of `domino` pull each site?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from domino_onnx.scheme import Budget, Inventory, WeightKey
from domino_onnx.search.erk import erk_densities
from domino_onnx.search.falling import FallingSite

__all__ = ["Factors"]


class Factors:
    """How strongly each site is pulled: ERK deficit and remaining FLOPs, each scaled to a maximum of 1 (equation 7).

    The ERK densities are those of the largest reduction among the budgets, so that the pull lasts until all are met.
    """

    def __init__(
        self,
        sites: Iterable[FallingSite],
        budgets: Sequence[Budget],
        inventory: Inventory,
        erk_weight: float,
        flops_weight: float,
    ) -> None:
        self._sites = list(sites)
        self._erk_weight, self._flops_weight = erk_weight, flops_weight
        params = sum(site.site.params for site in self._sites)
        skipped = sum(skip.params - skip.zeros for skip in inventory.skips if skip.counted)
        target = 1 - max((budget.reduction for budget in budgets), default=0.0)
        wanted = max(target * inventory.params - skipped, 0) / max(params, 1)
        densities = erk_densities([site.site.layout.shape for site in self._sites], wanted)
        self._erk_sparsity = {site.key: 1 - density for site, density in zip(self._sites, densities, strict=True)}
        macs = [site.site.macs for site in self._sites]
        known = None not in macs
        self._flops = {site.key: (site.site.macs or 0) if known else site.site.params for site in self._sites}
        self._factors: dict[WeightKey, float] = {}
        self.renew()

    def __getitem__(self, key: WeightKey) -> float:
        return self._factors[key]

    def renew(self) -> None:
        """After a site has got a new scheme."""
        params = {site.key: site.site.params for site in self._sites}
        deficit = {site.key: self._erk_sparsity[site.key] - site.zeros / params[site.key] for site in self._sites}
        flops = {
            site.key: self._flops[site.key] * ((params[site.key] - site.zeros) / params[site.key])
            for site in self._sites
        }
        erk_part = _scaled(deficit) if max(deficit.values()) >= _NO_DEFICIT else dict.fromkeys(deficit, 0.0)
        flops_part = _scaled(flops)
        self._factors = {
            key: self._erk_weight * erk_part[key] + self._flops_weight * flops_part[key] for key in deficit
        }

    def drop_erk(self) -> bool:
        """Let FLOPs alone decide from here on; False if they do already."""
        if self._erk_weight == 0 or self._flops_weight == 0:
            return False
        self._erk_weight = 0.0
        self.renew()
        return True


_NO_DEFICIT = 0.01
"""Below this largest deficit the authors' code drops the ERK part."""


def _scaled(values: Mapping[WeightKey, float]) -> dict[WeightKey, float]:
    largest = max(abs(value) for value in values.values())
    return {key: value / largest if largest else 0.0 for key, value in values.items()}

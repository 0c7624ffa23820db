"""What each scheme of each site costs at the model's outputs, measured with the refitted weight in place.

A site's loss follows the energy that its own output loses: measured at two schemes, the others lie between on a line
in logarithms. Measuring is running the network from the site on, which is what takes the time; the energy of every
scheme comes from second moments alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.split import has_judges, search_judges
from domino_onnx.errors import ModelError
from domino_onnx.outputs import OutputDivergence
from domino_onnx.reconstruction.dense import dense_statistics
from domino_onnx.reconstruction.network import Network, SegmentStart
from domino_onnx.reconstruction.positions import Statistics, no_statistics
from domino_onnx.reconstruction.problems import dense_problems
from domino_onnx.reconstruction.refit import Solution, estimate_error, prune_dense
from domino_onnx.runtime import Carried
from domino_onnx.scheme import FrozenMapping, Inventory, NMScheme, Site, WeightKey
from domino_onnx.search import LossTable, SiteLosses
from domino_onnx.solve import MaskRule, choose_mask, magnitude_mask, one_blas_thread

__all__ = ["SensitivityOptions", "measure_sensitivity"]

_FLOOR = 1e-9
_EXPONENTS = (0.5, 2.0)
_FORWARD_PASSES = 6.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityOptions:
    """How much is measured.

    Attributes
    ----------
    points
        Schemes of each site that are measured; the others are interpolated. 0 measures all.
    passes
        What measuring may take, in forward passes over all calibration data: it decides on how many batches it is done.
    rule
        How the masks are chosen.
    admm_steps
        Of that rule: enough to compare by, fewer than choosing the masks that stay deserves.
    """

    points: int = 2
    passes: float = _FORWARD_PASSES
    rule: MaskRule = "admm"
    admm_steps: int = 10


@one_blas_thread
def measure_sensitivity(
    network: Network,
    inventory: Inventory,
    load: Callable[[WeightKey], NDArray[np.generic]],
    options: SensitivityOptions | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    known: Mapping[WeightKey, SiteLosses] = MappingProxyType({}),
    keep: Callable[[Mapping[WeightKey, SiteLosses]], None] | None = None,
) -> LossTable:
    """The loss of every scheme of every site, all other sites dense.

    Parameters
    ----------
    load
        Gives a site's weight as floats, for those that data don't reach: their loss is estimated from the magnitudes
        that they lose.
    progress
        Called after each layer with how many are done, of how many, and the layer's name.
    known
        What an interrupted run has measured of the same network with the same options. It isn't measured again.
    keep
        Called after each site that was measured, with all that are known so far.

    Raises
    ------
    ModelError
        If the model can't be run piece by piece, has no floating-point output, or data reach none of its sites.
    """
    if not network.starts:
        raise ModelError("no input of the model reaches a weight that a loss could be measured for")
    return _Sensitivity(network, options or SensitivityOptions(), known, keep).table(inventory, load, progress)


class _Sensitivity:
    def __init__(
        self,
        network: Network,
        options: SensitivityOptions,
        known: Mapping[WeightKey, SiteLosses],
        keep: Callable[[Mapping[WeightKey, SiteLosses]], None] | None,
    ) -> None:
        self._network = network
        self._options = options
        self._known = known
        self._keep = keep
        scratch = network.scratch()
        self._batches = network.begin(scratch)
        self._judges = self._chosen_batches()
        self._reference = network.dense_outputs(scratch, self._judges)
        self._divergence = OutputDivergence(network.meanings)
        if not self._divergence.usable:
            raise ModelError("the model has no floating-point output that a loss could be measured at")
        shared = {reached.site.key for reached in network.reached_sites if reached.shared} - known.keys()
        self._shared = dense_statistics(network, lambda reached: reached.site.key in shared) if shared else {}
        self._choose = functools.partial(choose_mask, rule=self._options.rule, admm_steps=self._options.admm_steps)
        self._found: dict[WeightKey, SiteLosses] = {}

    def table(
        self,
        inventory: Inventory,
        load: Callable[[WeightKey], NDArray[np.generic]],
        progress: Callable[[int, int, str], None] | None,
    ) -> LossTable:
        for done, start in enumerate(self._network.starts, start=1):
            self._step(start)
            self._network.leave(start)
            if progress is not None:
                progress(done, len(self._network.starts), start.reached.site.name)
        losses = {key: found.losses for key, found in self._found.items()}
        for site in inventory.sites:
            if site.key not in losses:
                losses[site.key] = self._by_magnitude(site, load(site.key))
        return LossTable(losses=FrozenMapping(losses))

    def _chosen_batches(self) -> tuple[int, ...]:
        """On which batches losses are measured.

        Their number follows from the passes that measuring may take; the mean point runs half of the network.
        """
        points = sum(len(self._points(reached.site.schemes)) for reached in self._network.reached_sites)
        count = len(self._batches)
        return search_judges(count, math.ceil(self._options.passes / max(0.5 * points, 1) * count))

    def _points(self, schemes: Sequence[NMScheme]) -> tuple[NMScheme, ...]:
        """The sparsest and one in the middle, or more, evenly spread; never dense, which costs nothing."""
        sparse = [scheme for scheme in schemes if not scheme.is_dense]
        points = self._options.points or len(sparse)
        places = np.unique(
            np.linspace((len(sparse) - 1) / points / 1.5, len(sparse) - 1, min(points, len(sparse))).round()
        )
        return tuple(sparse[int(place)] for place in places)

    def _step(self, start: SegmentStart) -> None:
        """Measure a layer at its first use, and carry the dense activations on."""
        before = self._batches.some(self._judges)
        fitted, judged = self._gather(start)
        key = start.reached.site.key
        if key in self._found:
            return
        if key in self._known:
            self._found[key] = self._known[key]
            return
        if key in self._shared:
            fitted = judged = self._shared[key]
        if not fitted.count:  # no position of the data reaches it
            return
        parts = dense_problems(start.reached, fitted, dtype=np.float32)
        judges = parts if judged is fitted else dense_problems(start.reached, judged, dtype=np.float32)
        energies: dict[NMScheme, float] = {}
        measured: dict[NMScheme, float] = {}
        points = self._points(start.reached.site.schemes)
        for scheme in start.reached.site.schemes:
            if not scheme.is_dense:  # estimated where it is measured too: from the same rows, so that they compare
                energies[scheme] = estimate_error(parts, scheme, self._choose, judges)
            if scheme in points:
                solution = prune_dense(start.reached, parts, fitted, scheme, self._choose, judges)
                measured[scheme] = self._at_outputs(start, before, solution)
        self._found[key] = SiteLosses(
            losses=_interpolated(start.reached.site.schemes, energies, measured),
            energies=tuple(energies.get(scheme, 0.0) for scheme in start.reached.site.schemes),
        )
        if self._keep is not None:
            self._keep(self._found)

    def _gather(self, start: SegmentStart) -> tuple[Statistics, Statistics]:
        """Pass the site: statistics to refit by, and to judge by, which are the same where batches are few."""
        positions = self._network.positions_of_all(start)
        fitted, judged = (no_statistics(*start.reached.shape, positions) for _ in range(2))
        apart, key = has_judges(len(self._batches)), start.reached.site.key
        gathers = key not in self._found and key not in self._known and not start.reached.shared
        for batch, live in enumerate(self._batches):
            self._batches[batch], made = self._network.pass_start(start, live)
            if gathers:
                output = made[start.use.output]
                chosen = self._network.positions(start, output, batch, len(self._batches))
                gathered = start.view.unfold(live[start.use.data], output, chosen)
                (judged if apart and batch in self._judges else fitted).add(*gathered)
        return fitted if fitted.count else judged, judged if judged.count else fitted

    def _at_outputs(self, start: SegmentStart, before: Carried, solution: Solution) -> float:
        values: Mapping[WeightKey, NDArray[Any]] = start.reached.stored(solution.matrix, solution.bias)
        changed = {key.name: value for key, value in values.items()}
        return self._divergence(self._reference, (self._network.finish(start, live, changed) for live in before))

    def _by_magnitude(self, site: Site, weight: NDArray[np.generic]) -> tuple[float, ...]:
        """For a site without statistics: the energy its weight loses, at what energy costs the median layer."""
        prices = [
            loss / energy
            for found in self._found.values()
            for loss, energy in zip(found.losses, found.energies, strict=True)
            if energy > 0
        ]
        price = float(np.median(prices)) if prices else 1.0
        square = weight.astype(np.float64) ** 2
        total = float(square.sum()) or 1.0
        lost = (1 - float(square[magnitude_mask(weight, site.layout, scheme)].sum()) / total for scheme in site.schemes)
        never_falling = np.maximum.accumulate([price * max(share, 0.0) for share in lost])
        return tuple(float(loss) for loss in never_falling)


def _interpolated(
    schemes: Sequence[NMScheme], energies: Mapping[NMScheme, float], measured: Mapping[NMScheme, float]
) -> tuple[float, ...]:
    """Losses of all schemes, densest first: a power of the energy through the measured points, never falling."""
    points = sorted((max(energies[scheme], _FLOOR), max(loss, _FLOOR)) for scheme, loss in measured.items())
    logs = [
        (math.log(energy), math.log(loss)) if math.isfinite(loss) else (math.log(energy), 50.0)
        for energy, loss in points
    ]
    losses = []
    for scheme in schemes:
        if scheme.is_dense:
            losses.append(0.0)
        elif scheme in measured:
            losses.append(min(max(measured[scheme], _FLOOR), math.exp(50.0)))
        else:
            losses.append(math.exp(_on_line(logs, math.log(max(energies[scheme], _FLOOR)))))
    return tuple(float(loss) for loss in np.maximum.accumulate(losses))


def _on_line(points: Sequence[tuple[float, float]], at: float) -> float:
    """Piecewise linear through the points, with slopes held within reason; beyond them the nearest piece goes on."""
    if len(points) == 1:
        return points[0][1] + (at - points[0][0])
    right = next((place for place in range(1, len(points) - 1) if at <= points[place][0]), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    slope = min(max((y1 - y0) / (x1 - x0), _EXPONENTS[0]), _EXPONENTS[1]) if x1 > x0 else 1.0
    nearest = (x0, y0) if abs(at - x0) <= abs(at - x1) else (x1, y1)
    return nearest[1] + slope * (at - nearest[0])

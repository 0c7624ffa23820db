"""What it costs to measure, prune and refit one layer, counted as the search and the refit do it.

Counts follow `reconstruction/problem.py`, `solve/select.py` and `solve/quadratic.py`. How long a single operation takes
is measured (`Machine`); the few factors here are what their loops come to on real networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from domino_onnx.data.split import has_judges
from domino_onnx.forecast.layers import Layer
from domino_onnx.forecast.machine import Machine
from domino_onnx.reconstruction.needs import MAX_SAMPLE, positions_wanted
from domino_onnx.scheme import NMScheme

__all__ = ["Costs"]

_JUDGED_ROWS, _JUDGED_BLOCKS = 32, 8
_DAMPINGS = 7
_ADMM, _ADMM_ESTIMATED = 30, 10
_SWAP_ROUNDS = 7.0
"""Of nine at most."""
_SWAPPED = 0.7
"""Share of the rows that a round refits."""
_MOST_SWAP_WORK = 3e8
_CLIPPED_ROUNDS = 4
_STEPS, _STEPS_FROM_NEAR = 60, 25
_DIRECT_PRICE = 4
_PASSES = 6.0
_COLUMN = 4e-5
"""Seconds of Python for each column of a second-order mask."""
_CHUNK = 8192


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of a layer, apart from running the network.

    Attributes
    ----------
    samples, batches
        That the search and the refit learn from.
    """

    machine: Machine
    samples: int
    batches: int

    def searched(self, layer: Layer, schemes: Sequence[NMScheme], points: int = 2) -> float:
        """Estimating all schemes and solving some of them, on the dense network's inputs."""
        machine, judged = self.machine, min(layer.blocks, _JUDGED_BLOCKS)
        sparse = [float(scheme.density) for scheme in schemes if not scheme.is_dense]
        if layer.repeated or not sparse:
            return self._moved(layer)
        estimate = sum(self._chosen(layer, _JUDGED_ROWS, density, machine.float32) for density in sparse)
        solved = sum(self._chosen(layer, layer.outputs, density, machine.float32) for density in sparse[-points:])
        spectrum = layer.features**3 * machine.spectrum
        return self._gathered(layer) + judged * estimate + layer.blocks * (spectrum + solved)

    def refitted(self, layer: Layer, density: float) -> float:
        """Choosing the mask, swaps and least squares, on the pruned network's inputs."""
        if layer.repeated or density >= 1:
            return 2 * self._moved(layer)
        machine, features, rows = self.machine, layer.features, layer.outputs
        kept = max(round(features * density), 1)
        mask = features**3 * (machine.spectrum + machine.float64 / 3)
        mask += _ADMM * rows * features * (2 * features * machine.float32 + machine.ranked)
        solved = self._fitted(rows, features, kept, machine.float64) + self._swapped(rows, features, kept)
        if layer.clipped:
            products = 2 * _positions(layer, self.samples, MAX_SAMPLE) * features * rows * machine.float32
            near = self._fitted(rows, features, kept, machine.float64, near=True)
            solved += _CLIPPED_ROUNDS * (products + near)
        return self._gathered(layer) + self._damped(layer, kept) + layer.blocks * (mask + solved)

    def _moved(self, layer: Layer) -> float:
        """Laying out what goes in."""
        return 2 * self.samples * layer.read * self.machine.moved

    def _gathered(self, layer: Layer) -> float:
        """Unfolding and second moments."""
        machine, features = self.machine, layer.features
        positions = _positions(layer, self.samples, positions_wanted(features))
        width = features + layer.outputs
        unfolded = positions * width * machine.moved * 8
        chunks = max(self.batches, positions / _CHUNK)
        sums = positions * features * width * machine.float32 + chunks * features * width * machine.moved * 6
        return self._moved(layer) + layer.blocks * (unfolded + sums)

    def _damped(self, layer: Layer, kept: int) -> float:
        """Choosing the damping by what was held out."""
        if not has_judges(self.batches):
            return 0.0
        features, machine = layer.features, self.machine
        mask = 2.0 * features**3 * machine.float64 + features * _COLUMN
        rows = min(_JUDGED_ROWS, layer.outputs)
        fitted = self._fitted(rows, features, kept, machine.float64)
        return min(layer.blocks, _JUDGED_BLOCKS) * (mask + _DAMPINGS * fitted)

    def _chosen(self, layer: Layer, rows: int, density: float, product: float) -> float:
        """A mask for comparing, and its refit."""
        features, machine = layer.features, self.machine
        rows, kept = min(rows, layer.outputs), max(round(features * density), 1)
        steps = _ADMM_ESTIMATED * rows * features * (2 * features * machine.float32 + machine.ranked)
        return features**3 * product / 3 + steps + self._fitted(rows, features, kept, product)

    def _swapped(self, rows: int, features: int, kept: int) -> float:
        if rows * float(kept) ** 3 > _MOST_SWAP_WORK:
            return 0.0
        machine = self.machine
        removal = rows * (machine.inverse(kept) + kept**2 * machine.moved)
        refit = self._fitted(round(rows * _SWAPPED), features, kept, machine.float64, near=True)
        return _SWAP_ROUNDS * (removal + refit + 2 * rows * features * features * machine.float64)

    def _fitted(self, rows: int, features: int, kept: int, product: float, *, near: bool = False) -> float:
        """Least squares on the supports of some rows, the way that `Quadratic.refit` chooses."""
        steps = _STEPS_FROM_NEAR if near else _STEPS
        direct = _DIRECT_PRICE * kept**3 * rows * 2 / 3
        if direct <= steps * 2.0 * rows * features**2:
            return rows * (self.machine.system(kept) + kept**2 * self.machine.moved)
        return steps * rows * features * (features * product + 10 * self.machine.moved)


def _positions(layer: Layer, samples: int, wanted: int) -> int:
    return min(samples * layer.positions, wanted)

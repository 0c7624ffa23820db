"""What it costs to measure, prune and refit one layer, counted as the search and the refit do it.

Counts follow `reconstruction/refit.py`, `solve/select.py`, `solve/quadratic.py` and `solve/inputs.py`. How long a
single operation takes is measured (`Machine`); the few factors here are what their loops come to on real networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from domino_onnx.data.split import has_judges
from domino_onnx.forecast.layers import Layer
from domino_onnx.forecast.machine import Machine
from domino_onnx.reconstruction.needs import MAX_SAMPLE, are_few, positions_wanted
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
_STEPS_OF_FEW, _STEPS_OF_FEW_FROM_NEAR = 175, 75
"""Of conjugate gradients where positions are few: one combination of features is then almost as good as another."""
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
        spectrum = layer.blocks * self._rank(layer) ** 3 * machine.spectrum
        return self._gathered(layer) + judged * estimate + spectrum + layer.blocks * solved

    def refitted(self, layer: Layer, density: float) -> float:
        """Choosing the mask, swaps and least squares, on the pruned network's inputs."""
        if layer.repeated or density >= 1:
            return 2 * self._moved(layer)
        machine, features, rows = self.machine, layer.features, layer.outputs
        kept = max(round(features * density), 1)
        mask = self._rank(layer) ** 3 * (machine.spectrum + machine.float64 / 3)
        mask += _ADMM * self._step(layer, rows)
        solved = self._fitted(layer, rows, kept, machine.float64) + self._swapped(layer, kept)
        if layer.clipped:
            products = 2 * _positions(layer, self.samples, MAX_SAMPLE) * features * rows * machine.float32
            near = self._fitted(layer, rows, kept, machine.float64, near=True)
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
        if self._few(layer):
            return self._moved(layer) + layer.blocks * unfolded
        chunks = max(self.batches, positions / _CHUNK)
        sums = positions * features * width * machine.float32 + chunks * features * width * machine.moved * 6
        return self._moved(layer) + layer.blocks * (unfolded + sums)

    def _damped(self, layer: Layer, kept: int) -> float:
        """Choosing the damping by what was held out."""
        if not has_judges(self.batches):
            return 0.0
        machine, rows = self.machine, min(_JUDGED_ROWS, layer.outputs)
        fitted = self._fitted(layer, rows, kept, machine.float64)
        if self._few(layer):
            mask = self._rank(layer) ** 3 * machine.spectrum + _ADMM * self._step(layer, rows)
        else:
            mask = 2.0 * layer.features**3 * machine.float64 + layer.features * _COLUMN
        return min(layer.blocks, _JUDGED_BLOCKS) * (mask + _DAMPINGS * fitted)

    def _chosen(self, layer: Layer, rows: int, density: float, product: float) -> float:
        """A mask for comparing, and its refit."""
        rows, kept = min(rows, layer.outputs), max(round(layer.features * density), 1)
        steps = _ADMM_ESTIMATED * self._step(layer, rows)
        return self._rank(layer) ** 3 * product / 3 + steps + self._fitted(layer, rows, kept, product)

    def _swapped(self, layer: Layer, kept: int) -> float:
        rows = layer.outputs
        if rows * float(kept) ** 3 > _MOST_SWAP_WORK:
            return 0.0
        machine = self.machine
        removal = rows * (machine.inverse(kept) + kept**2 * machine.moved)
        refit = self._fitted(layer, round(rows * _SWAPPED), kept, machine.float64, near=True)
        return _SWAP_ROUNDS * (removal + refit + 2 * rows * self._products(layer) * machine.float64)

    def _fitted(self, layer: Layer, rows: int, kept: int, product: float, *, near: bool = False) -> float:
        """Least squares on the supports of some rows, the way that `Quadratic.refit` chooses."""
        steps = _STEPS_FROM_NEAR if near else _STEPS
        machine, positions = self.machine, _positions(layer, self.samples, layer.features)
        least = min(kept, positions) if self._few(layer) else kept
        laid_out = positions * kept if self._few(layer) else kept**2
        direct = least**3 * 2 / 3 + (2.0 * least**2 * max(kept, positions) if self._few(layer) else 0)
        if _DIRECT_PRICE * direct <= steps * 2.0 * self._products(layer):
            multiplied = (direct - least**3 * 2 / 3) / 2 * machine.float64
            return rows * (machine.system(least) + multiplied + laid_out * machine.moved)
        if self._few(layer):  # always in float64, and each step reads all positions anew
            steps, product = _STEPS_OF_FEW_FROM_NEAR if near else _STEPS_OF_FEW, machine.float64
            read = steps * self._products(layer) * machine.moved
        else:
            read = 0.0
        return read + steps * rows * (self._products(layer) * product + 10 * layer.features * machine.moved)

    def _few(self, layer: Layer) -> bool:
        """Whether the positions themselves are kept."""
        return are_few(_positions(layer, self.samples, positions_wanted(layer.features)), layer.features)

    def _rank(self, layer: Layer) -> int:
        """Rows of the square matrix that tells what the inputs are like."""
        return _positions(layer, self.samples, layer.features) if self._few(layer) else layer.features

    def _products(self, layer: Layer) -> float:
        """Multiply-accumulates of a row with the second moments."""
        return layer.features * (2.0 * self._rank(layer) if self._few(layer) else layer.features)

    def _step(self, layer: Layer, rows: int) -> float:
        """Seconds of a step of ADMM."""
        machine = self.machine
        width = self._products(layer) / layer.features
        return rows * layer.features * (2 * width * machine.float32 + machine.ranked)


def _positions(layer: Layer, samples: int, wanted: int) -> int:
    return min(samples * layer.positions, wanted)

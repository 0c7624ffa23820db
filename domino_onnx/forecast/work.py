"""What a run is going to do: the numbers that decide how long each stage takes and what it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from domino_onnx.forecast.layers import Layer, Walk
from domino_onnx.forecast.machine import Machine
from domino_onnx.scheme import WeightKey

__all__ = ["Training", "Work"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A finetuning: optimizer steps of all rates that are tried, samples of a step, looks at so many held-out ones.

    Attributes
    ----------
    drawn
        Samples of a step that are drawn for it.
    drawn_first
        Samples that are drawn before the first step.
    """

    steps: int
    batch: int
    looks: int
    held_out: int
    drawn: int = 0
    drawn_first: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run as the options, the data and the model make it.

    Attributes
    ----------
    forward
        Seconds of one sample in ONNX Runtime.
    drawing
        Seconds to draw one sample; 0 where none is drawn.
    varying
        Seconds to vary one drawn sample.
    drawn
        Samples that are drawn before the search and the refit learn from them.
    given
        Samples whose outputs are looked at before anything else: real ones, where drawn ones join them.
    samples, batches
        That the search and the refit learn from.
    judges
        Samples that judge the written file.
    measures
        How often refitted or finetuned weights are judged on the way, and on how many samples each time.
    searches, refits
        How often losses are measured, 0 or 1, and how often a plan is refitted, on average.
    known
        Weights whose losses are measured already.
    gradients
        Samples of a step with which DominoSearch chooses the schemes; 0 where it doesn't, or without gradients.
    trials
        Plans that are written for a while and judged by all judges.
    density, densities
        Share of a layer's weights that is kept: of those that a plan names, and about, of all others.
    training
        None without finetuning.
    stored
        Numbers that the file stores.
    writes
        Whether a file is written and compared with the dense one.
    """

    walk: Walk
    machine: Machine
    forward: float
    drawing: float
    varying: float
    drawn: int
    given: int
    samples: int
    batches: int
    judges: int
    measures: tuple[int, int]
    searches: int
    gradients: int
    refits: float
    trials: int
    density: float
    densities: Mapping[WeightKey, float]
    training: Training | None
    stored: int
    writes: bool
    known: frozenset[WeightKey] = frozenset()

    def density_of(self, layer: Layer) -> float:
        """Share of its weights that a layer is expected to keep."""
        return self.densities.get(layer.site.key, self.density)

"""How far a finetuning has come, and whether it can have come so far."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import msgspec

from domino_onnx.finetuning.rate import TRIED_RATES
from domino_onnx.finetuning.results import FinetuneStep
from domino_onnx.finetuning.trainer import WeightTensors
from domino_onnx.options import FinetuneOptions

__all__ = ["MOST_HALVINGS", "Progress", "TrainingState"]

MOST_HALVINGS = 2
"""How often a finetuning that diverges goes on at half the rate."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclasses.dataclass(slots=True, kw_only=True)
class Progress:
    """How far it has come, without any values: what the document of a checkpoint holds.

    Attributes
    ----------
    before, best
        Held-out loss of the given weights, and of the best ones so far.
    best_step
        Where those were found.
    rate_losses
        Held-out loss after a short run at each learning rate, by the rate as text.
    peak
        The learning rate; None until one is chosen.
    step
        Steps that led to the present weights.
    batches
        Batches that were taken in all.
    halvings
        How often the rate was halved.
    """

    before: float
    best: float
    best_step: _Count = 0
    rate_losses: dict[str, float] = dataclasses.field(default_factory=dict)
    peak: float | None = None
    step: _Count = 0
    batches: _Count = 0
    halvings: Annotated[int, msgspec.Meta(ge=0, le=MOST_HALVINGS)] = 0
    diverged: bool = False
    history: list[FinetuneStep] = dataclasses.field(default_factory=list)

    @property
    def lr(self) -> float:
        """The peak rate as it is now."""
        return (self.peak or 0.0) * 0.5**self.halvings

    def doubt(self, options: FinetuneOptions) -> str | None:
        """Why no finetuning with these options comes to this; None if one may."""
        if not self._has_rate(options):
            return "no rate is chosen so"
        if not self._adds_up(options.steps):
            return "the steps and batches don't add up"
        if not self._has_history():
            return "the history isn't one of these steps"
        return None if self._has_best() else "the best loss isn't one of the history"

    def _has_rate(self, options: FinetuneOptions) -> bool:
        tried = TRIED_RATES[options.method]
        if any(lr not in map(str, tried) or not loss >= 0 for lr, loss in self.rate_losses.items()):
            return False
        if options.lr is not None:
            return self.peak == options.lr
        return self.peak in tried if self.peak is not None else self.step == 0

    def _adds_up(self, steps: int) -> bool:
        """Each time that it went back it had taken up to `steps` batches; where it never did, one a step."""
        least = self.batches if self.halvings == 0 else self.step
        most = steps * (self.halvings + 1)
        if self.diverged and self.halvings < MOST_HALVINGS:
            return False
        return self.best_step <= self.step <= steps and least <= self.step <= self.batches <= most

    def _has_history(self) -> bool:
        settled = self.history[:-1] if self.diverged else self.history
        finite = all(math.isfinite(each.loss) and math.isfinite(each.lr) for each in settled)
        return finite and [each.step for each in self.history] == list(range(1, self.step + 1))

    def _has_best(self) -> bool:
        found = self.before if self.best_step == 0 else self.history[self.best_step - 1].held_out
        return math.isfinite(self.before) and self.best == found and self.best <= self.before


@dataclasses.dataclass(slots=True, kw_only=True)
class TrainingState(Progress):
    """The progress and the best values; with the trainer's arrays, all that the next step depends on."""

    best_values: WeightTensors

    def progress(self) -> Progress:
        """The same without the values."""
        return Progress(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Progress)})

    @classmethod
    def at(cls, progress: Progress, best_values: WeightTensors) -> TrainingState:
        """A progress with the values that belong to it."""
        fields = {field.name: getattr(progress, field.name) for field in dataclasses.fields(progress)}
        return cls(**fields, best_values=best_values)

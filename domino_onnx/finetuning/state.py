"""How far a finetuning has come, and whether it can have come so far."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import msgspec

from domino_onnx.finetuning.early import has_stopped_falling
from domino_onnx.finetuning.results import FinetuneStep
from domino_onnx.finetuning.trainer import WeightTensors
from domino_onnx.options import TRIED_RATES, FinetuneOptions, PlannedSteps, planned_steps

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
    plan
        How many steps are planned, and what decided it; None until that is.
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
    diverged
        Whether it ended because it diverged once too often.
    """

    before: float
    best: float
    best_step: _Count = 0
    plan: PlannedSteps | None = None
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

    @property
    def planned(self) -> int:
        """How many steps are planned; 0 before they are."""
        return 0 if self.plan is None else self.plan.steps

    @property
    def has_stopped_falling(self) -> bool:
        """Whether the held-out loss has, as a look after the present step shows."""
        if not self.history or self.history[-1].held_out is None:
            return False
        looks = [(each.step, each.held_out) for each in self.history if each.held_out is not None]
        return has_stopped_falling(looks, self.planned, self.before)

    def doubt(self, options: FinetuneOptions, epoch: int) -> str | None:
        """Why no finetuning with these options comes to this; None if one may.

        Parameters
        ----------
        epoch
            Steps in which each training sample is seen once.
        """
        if not self._has_plan(options, epoch):
            return "no steps are planned so"
        if not self._has_rate(options):
            return "no rate is chosen so"
        if not self._adds_up(self.planned):
            return "the steps and batches don't add up"
        if not self._has_history():
            return "the history isn't one of these steps"
        return None if self._has_best() else "the best loss isn't one of the history"

    def _has_plan(self, options: FinetuneOptions, epoch: int) -> bool:
        """The one of options and samples, or less where time decided. Before there is one, nothing was tried."""
        if self.plan is None:
            return not self.rate_losses and not self.batches
        without_limit = planned_steps(options, epoch)
        if self.plan.decided_by == "time" and without_limit.decided_by == "samples":
            return 1 <= self.plan.steps < without_limit.steps
        return self.plan == without_limit

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

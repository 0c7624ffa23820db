"""How many steps finetuning takes: those that were asked for, or what samples and time come to.

Nothing here needs torch, so that a run can be estimated before it begins.
"""

from __future__ import annotations

import bisect
import dataclasses
from typing import Final, Literal

from domino_onnx.options.duration import Duration
from domino_onnx.options.groups import FinetuneOptions, Method

__all__ = [
    "DEFAULT_TIME",
    "JUDGED_DRAWS",
    "TRIED_RATES",
    "Decider",
    "Pace",
    "PlannedSteps",
    "looks_within",
    "planned_steps",
    "rates_to_try",
    "trial_steps",
]

Decider = Literal["options", "samples", "time"]

DEFAULT_TIME: Final = Duration(600)
_EPOCHS: Final = 24
_FEWEST, _MOST = 2000, 20_000
"""Steps where the samples decide: so many times each sample, within these limits."""
_MOST_LOOKS, _FEWEST_LOOKS, _STEPS_A_LOOK = 20, 4, 10
"""How often the held-out samples are looked at on the way. A look may take as long as ten steps."""
JUDGED_DRAWS: Final = 2
"""Variations of each held-out sample, where samples are varied: the same ones whenever they are looked at."""
TRIED_RATES: dict[Method, tuple[float, ...]] = {
    "fixed": (3e-5, 1e-4, 3e-4, 1e-3),
    "sr-ste": (1e-3, 3e-3, 1e-2, 3e-2),
}
"""Networks differ by a factor of ten, and finetuning at a wrong rate loses accuracy."""
_TRIAL_SHARE, _FEWEST_TRIED, _MOST_TRIED = 25, 20, 80
"""A rate is tried for a 25th of the steps, but for 20 at least and 80 at most."""
_MOST_OF_FEW = 4
"""Of fewer than 80 steps a rate is tried for a quarter, so that all trials take no more than the training."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of a step, of a look at the held-out samples, and those that were spent before."""

    step: float
    look: float
    spent: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSteps:
    """How many steps are planned, and what decided it: the options, the samples, or the time."""

    steps: int
    decided_by: Decider


def planned_steps(options: FinetuneOptions, epoch: int, pace: Pace | None = None) -> PlannedSteps:
    """The steps of a finetuning, decided before its first step.

    Parameters
    ----------
    epoch
        Steps in which each training sample is seen once.
    pace
        What is measured, or estimated. Without it time decides nothing.
    """
    if options.steps is not None:
        return PlannedSteps(steps=options.steps, decided_by="options")
    wanted = min(max(_EPOCHS * epoch, _FEWEST), _MOST)
    if pace is None:
        return PlannedSteps(steps=wanted, decided_by="samples")
    rates = len(rates_to_try(options))
    left = (options.time or DEFAULT_TIME).seconds - pace.spent

    def cost(steps: int) -> float:
        return (steps + rates * trial_steps(steps)) * pace.step + (looks_within(steps) + rates) * pace.look

    affordable = max(bisect.bisect_right(range(1, wanted + 1), left, key=cost), 1)
    return PlannedSteps(steps=affordable, decided_by="time" if affordable < wanted else "samples")


def rates_to_try(options: FinetuneOptions) -> tuple[float, ...]:
    """The learning rates of which short runs choose one; none where one is given."""
    return () if options.lr is not None else TRIED_RATES[options.method]


def trial_steps(steps: int) -> int:
    """How long each learning rate is tried before so many steps."""
    return min(max(steps // _TRIAL_SHARE, _FEWEST_TRIED), _MOST_TRIED, max(steps // _MOST_OF_FEW, 1))


def looks_within(steps: int) -> int:
    """How often the held-out samples are looked at in so many steps."""
    return min(max(steps // _STEPS_A_LOOK, _FEWEST_LOOKS), _MOST_LOOKS, steps)

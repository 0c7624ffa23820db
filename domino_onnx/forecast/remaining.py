"""How much is left of a run: the forecast, corrected by what has been seen of the run so far."""

from __future__ import annotations

import dataclasses

from domino_onnx.forecast.values import Forecast, StageCost

__all__ = ["Remaining"]

_LAST = frozenset({"finetune", "write", "evaluate"})
"""Stages that begin only when those before them in the forecast are over, whatever was expected of these."""
_TRUST = 0.5
"""How many runs of a stage the forecast counts for, against those that were seen."""
_TRUST_OF_ALL = 0.3
"""The share of the whole forecast that weighs as much as what was seen, for stages that are still to come."""
_SEEN = 4.0
"""From a quarter of a run on, its own pace alone says what is left of it."""
_AT_LEAST = 0.05
"""Share of a run that is left where it takes longer than expected, and doesn't say how far it is."""


@dataclasses.dataclass(slots=True)
class _Seen:
    """What was seen of a stage: runs that are over, and their seconds."""

    runs: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(slots=True)
class _Running:
    """A run that is going on.

    Attributes
    ----------
    cost
        None for a stage that wasn't forecast.
    start, began
        When it began; the second one later by what stages inside it took.
    first, last
        The share of it that was over, and seconds since it began, when it said so first and last.
    """

    cost: StageCost | None
    start: float
    began: float
    first: tuple[float, float] | None = None
    last: tuple[float, float] = (0.0, 0.0)


class Remaining:
    """Seconds that are left. Times are those of any clock that never goes back. Stages may run inside others.

    Parameters
    ----------
    forecast
        Its stages count from now on; others count nothing.
    """

    def __init__(self, forecast: Forecast) -> None:
        self._stages = {stage.name: stage for stage in forecast.stages}
        self._order = list(self._stages)
        self._all = max(forecast.seconds, 1e-9)
        self._seen = {name: _Seen() for name in self._stages}
        self._more = dict.fromkeys(self._stages, 0.0)
        self._over: set[str] = set()
        self._running: list[_Running] = []

    def correct(self, name: str, runs: float) -> None:
        """A stage is going to run so many times more often than expected, or less often."""
        if name in self._stages:
            self._more[name] += runs

    def begin(self, name: str, now: float) -> None:
        """A stage begins to run."""
        if name in _LAST and name in self._stages:
            self._over |= set(self._order[: self._order.index(name)])
        self._running.append(_Running(self._stages.get(name), now, now))

    def advance(self, done: float, total: float, now: float) -> None:
        """The innermost stage that runs says how far it is."""
        running = self._running[-1] if self._running else None
        if running is None or running.cost is None:
            return
        point = (running.cost.fraction(done, total), now - running.began)
        if running.first is None and point[0] > 0:
            running.first = point
        running.last = point

    def end(self, now: float) -> None:
        """The stage that began last is over."""
        if not self._running:  # it began before the forecast was made
            return
        ended = self._running.pop()
        if ended.cost is not None:
            self._seen[ended.cost.name].runs += 1
            self._seen[ended.cost.name].seconds += now - ended.began
        if self._running:
            self._running[-1].began += now - ended.start

    def seconds(self, now: float) -> float:
        """What is left, never below zero."""
        left, at, going_on = 0.0, now, []
        for running in reversed(self._running):
            if running.cost is not None:
                going_on.append(running.cost.name)
                if self._seen[running.cost.name].runs < self._runs(running.cost):  # one run too many is a short one
                    left += self._left_of_run(running, running.cost, at)
            at = running.start  # the one outside has stopped since then
        for name, stage in self._stages.items():
            if name not in self._over:
                runs = self._runs(stage) - self._seen[name].runs - going_on.count(name)
                left += max(runs, 0) * self._of_a_run(stage)
        return left

    def _runs(self, stage: StageCost) -> float:
        """How often a stage is expected to run in all, by what is known now."""
        return stage.runs + self._more[stage.name]

    def _of_a_run(self, stage: StageCost) -> float:
        """Seconds of one run: as those that were seen; before any, as the forecast says, corrected by other stages."""
        seen = self._seen[stage.name]
        expected = _forecast_of_a_run(stage)
        if seen.runs:
            return (_TRUST * expected + seen.seconds) / (_TRUST + seen.runs)
        return expected * self._correction()

    def _correction(self) -> float:
        """How much longer than forecast the stages took that are over."""
        base = _TRUST_OF_ALL * self._all
        took = sum(seen.seconds for seen in self._seen.values())
        expected = sum(seen.runs * _forecast_of_a_run(self._stages[name]) for name, seen in self._seen.items())
        return (base + took) / (base + expected)

    def _left_of_run(self, running: _Running, cost: StageCost, now: float) -> float:
        """Of a run that is going on: as expected at first, then at the pace that it shows."""
        elapsed = now - running.began
        expected = self._of_a_run(cost)
        share, at = running.last
        left = max(expected - elapsed, expected * min(_AT_LEAST, 1 - share))
        if running.first is None or share <= running.first[0]:
            return left
        pace = (at - running.first[1]) / (share - running.first[0])
        shown = max(pace * (1 - share) - (elapsed - at), 0.0)
        trust = min(_SEEN * (share - running.first[0]), 1.0)
        return trust * shown + (1 - trust) * left


def _forecast_of_a_run(stage: StageCost) -> float:
    return stage.seconds / (stage.runs or 1)

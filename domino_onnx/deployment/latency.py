"""How long do several things take that run in turns, so that whatever else the machine does hits all of them alike?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clock", "Latency", "clock_for", "interleaved", "measure"]

Clock = Callable[[], float]
_WARM = 2
_FEWEST_ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What one run takes, in seconds: the median, and the quartiles around it."""

    median: float
    low: float
    high: float
    rounds: int


def clock_for(threads: int) -> Clock:
    """The processor's time for one thread, which other programs don't lengthen; the wall clock for more."""
    return time.process_time if threads == 1 else time.perf_counter


def interleaved(
    runs: Sequence[Callable[[], object]], seconds: float, clock: Clock = time.perf_counter
) -> NDArray[np.float64]:
    """(rounds, runs) seconds: in each round every run once, after two rounds that don't count.

    There are at least 5 rounds, and no more once `seconds` are over on the wall clock. Where the clock is too coarse to
    show a run, this is repeated until it does, and takes its share.
    """
    for _ in range(_WARM):
        for run in runs:
            run()
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < _FEWEST_ROUNDS or time.perf_counter() < end:
        rounds.append([_seconds_of(run, clock) for run in runs])
    return np.array(rounds)


def _seconds_of(run: Callable[[], object], clock: Clock) -> float:
    """Of one run, above 0; of several together where the clock hasn't moved by then."""
    start, count, taken = clock(), 0, 0.0
    while taken <= 0:
        run()
        count += 1
        taken = clock() - start
    return taken / count


def measure(runs: Sequence[Callable[[], object]], seconds: float, clock: Clock = time.perf_counter) -> list[Latency]:
    """The latency of each run, all of them in turns."""
    taken = interleaved(runs, seconds, clock)
    low, median, high = np.quantile(taken, [0.25, 0.5, 0.75], axis=0)
    return [
        Latency(median=float(median[place]), low=float(low[place]), high=float(high[place]), rounds=len(taken))
        for place in range(len(runs))
    ]

"""A forecast: seconds of each stage, memory, disk, and how much of the file can be pruned at all."""

from __future__ import annotations

import dataclasses

__all__ = ["LONG", "Forecast", "StageCost", "Unprunable"]

LONG = 20.0
"""Seconds from which on a user is told beforehand what a run costs, and on the way how far it is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What is expected of one stage.

    Attributes
    ----------
    seconds
        Of all its runs together.
    runs
        How often it is expected to run, on average.
    shares
        Of one run: the share of its time that is over after each of its steps, where they aren't alike.
    """

    name: str
    seconds: float
    runs: float = 1
    shares: tuple[float, ...] = ()

    def fraction(self, done: float, total: float) -> float:
        """Which share of a run's time is over after `done` of `total` steps, 0 to 1."""
        if total <= 0 or done <= 0:
            return 0.0
        if len(self.shares) == total and done >= 1:
            return self.shares[min(int(done), len(self.shares)) - 1]
        return min(done / total, 1.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unprunable:
    """Weights that stay as they are, of one operator: their share of all numbers that the file stores, and why.

    `counted` is False for operators outside Conv, ConvTranspose, Gemm and MatMul, whose weights are never pruned.
    """

    op: str
    share: float
    reason: str
    counted: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run is going to cost.

    Attributes
    ----------
    stages
        Those that are still to come, in order.
    threads
        Of ONNX Runtime and torch; 0 where they choose.
    memory, memory_available
        Bytes that the process is going to have resident at most, and that it can have; None where that isn't known.
    memory_limit
        Bytes that it may have, as the user said; None where nothing was said.
    disk, disk_available
        Bytes of what is written, with the activations that don't fit in memory, and those that are free there; None
        where that isn't known.
    prunable
        Share of the file's numbers that are in weights with a choice of schemes.
    unprunable
        The other weights, the largest share first.
    finetunes
        Whether finetuning is going to be tried.
    may_skip_finetuning
        Whether the run would be one without it, too.
    """

    stages: tuple[StageCost, ...]
    threads: int
    memory: int
    memory_available: int | None
    memory_limit: int | None
    disk: int
    disk_available: int | None
    prunable: float
    unprunable: tuple[Unprunable, ...]
    finetunes: bool
    may_skip_finetuning: bool

    @property
    def seconds(self) -> float:
        """Of all stages that are still to come."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def is_long(self) -> bool:
        """Whether a user should know beforehand."""
        return self.seconds >= LONG

    @property
    def is_over_limit(self) -> bool:
        """Whether the least that the run can do with is more than the user allows."""
        return self.memory_limit is not None and self.memory > self.memory_limit

"""All options of a run together, checked against each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from domino_onnx.codec import check_fields
from domino_onnx.errors import OptionError
from domino_onnx.options.groups import (
    DataOptions,
    FinetuneOptions,
    Goal,
    OutputOptions,
    RunOptions,
    SearchOptions,
    SolverOptions,
    TargetOptions,
)
from domino_onnx.scheme import SchemePool

__all__ = ["CompressOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions:
    """What to do with a model. A recipe file has the same groups and fields.

    Raises
    ------
    OptionError
        For a value that a field doesn't take, and for options that contradict each other.
    """

    goal: Goal = dataclasses.field(default_factory=Goal)
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    target: TargetOptions = dataclasses.field(default_factory=TargetOptions)
    search: SearchOptions = dataclasses.field(default_factory=SearchOptions)
    solver: SolverOptions = dataclasses.field(default_factory=SolverOptions)
    finetune: FinetuneOptions = dataclasses.field(default_factory=FinetuneOptions)
    output: OutputOptions = dataclasses.field(default_factory=OutputOptions)
    run: RunOptions = dataclasses.field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
        self._require_one_choice_of_schemes()
        self._require_target_for_speed()

    @property
    def pool(self) -> SchemePool:
        """The schemes that weights may get: those of the search, or the one of the goal."""
        if self.goal.scheme is not None:
            return SchemePool.single(self.goal.scheme)
        return self.search.pool or SchemePool.fixed_m()

    def without_goal(self) -> CompressOptions:
        """The same for work that has a goal of its own: a plan, a pruned file, shares of zeros."""
        return dataclasses.replace(self, goal=Goal())

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files and folders that are read besides the model."""
        metric = None if self.data.metric is None else Path(self.data.metric.rpartition(":")[0] or self.data.metric)
        paths = (self.data.path, self.data.evaluation, self.goal.plan, metric)
        return tuple(path for path in paths if path is not None)

    def _require_one_choice_of_schemes(self) -> None:
        if self.goal.scheme is None:
            return
        if self.search.strategy != "auto":
            raise OptionError(f"--scheme leaves nothing to search: drop search.strategy = {self.search.strategy!r}")
        if self.search.pool is not None:
            raise OptionError("--scheme and --pool contradict each other: give one of them")

    def _require_target_for_speed(self) -> None:
        searched = self.goal.is_given and self.goal.plan is None
        target = self.target.runtime or ("generic" if searched else "a plan's")
        if self.target.speed_only and target == "generic":
            raise OptionError("--speed-only leaves dense what a target can't speed up: give --target tensorrt")

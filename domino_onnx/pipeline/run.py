"""A run that makes a file: what all of its stages are given, and what comes before the first and behind the last."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.files import Replacing
from domino_onnx.options import CompressOptions
from domino_onnx.report.results import CompressResult
from domino_onnx.stages import (
    Checkpoint,
    Journal,
    Made,
    Observer,
    Output,
    check_second,
    compared,
    open_checkpoint,
    replacing_of,
    with_second,
    write_report,
)

if TYPE_CHECKING:
    from domino_onnx.evaluate import Metric

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all stages of a run are given.

    Attributes
    ----------
    checkpoint
        What the run keeps, within a `with` block.
    replacing
        Which files that exist the run may replace.
    metric
        The caller's own; None: the one that the options name.
    """

    options: CompressOptions
    journal: Journal
    checkpoint: Checkpoint
    replacing: Replacing
    metric: Metric | None

    @classmethod
    def begin(
        cls,
        options: CompressOptions,
        observer: Observer | None,
        place: Path | None,
        *,
        force: bool,
        metric: Metric | None,
    ) -> Run:
        """A run that keeps what it finds next to `place`; None: only in a folder that the options name."""
        journal = Journal(observer)
        checkpoint = open_checkpoint(options, place, journal)
        replacing = replacing_of(options, place, force=force, checkpoint=checkpoint)
        return cls(options=options, journal=journal, checkpoint=checkpoint, replacing=replacing, metric=metric)

    def output(self, path: Path, *models: Path) -> Output:
        """What is going to be written, where a second file can be written next to it as well.

        Parameters
        ----------
        models
            That are read.

        Raises
        ------
        OutputError, DependencyError
            As `check_second`.
        """
        check_second(path, self.options, models, self.replacing)
        return Output(path=path, replacing=self.replacing)

    def finish(self, made: Made, report: Path | None) -> CompressResult:
        """The result, with the other files that were asked for.

        Until they are all in place, what was found is kept: call it within the checkpoint's block.

        Raises
        ------
        OutputError
            If the report can't be written.
        """
        result = with_second(compared(made, self.journal), self.journal, self.replacing)
        if report is not None:
            write_report(report, result, self.replacing)
        return result

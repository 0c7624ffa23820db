"""What budgets were tried, and what each was worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from domino_onnx.forecast import Forecast
from domino_onnx.options import CompressOptions
from domino_onnx.outputs import Comparison
from domino_onnx.percentage import percent
from domino_onnx.report.text import loss_in_unit, lost_in_words
from domino_onnx.scheme import Budget, Plan

__all__ = ["SweepResult", "Trial"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A budget that was tried, without finetuning.

    Attributes
    ----------
    planned_sparsity, planned_flops_saved
        Shares of zeros and of MACs saved that its plan comes to, over all weights that count; of MACs only where
        shapes are known.
    divergence
        How far apart the outputs were after the refit, on calibration data.
    comparison
        With the dense model, on data set apart.
    bytes, bytes_gzipped
        Of the model's files with zeros in place, and as `gzip` leaves them.
    """

    budget: Budget
    plan: Plan
    planned_sparsity: float
    planned_flops_saved: float | None
    divergence: float | None
    comparison: Comparison
    bytes: int
    bytes_gzipped: int

    def in_words(self, max_drop: float | None = None) -> str:
        """On one line, for people; where a largest loss was given, whether the plan stays within it."""
        lost = lost_in_words(self.comparison.metric, self.comparison.drop)
        said = f"tried {percent(self.planned_sparsity)} zeros: {lost}"
        if max_drop is None:
            return said
        verdict = "accepted" if self.comparison.is_within(max_drop) else "too much"
        return f"{said}, {verdict} ({loss_in_unit(self.comparison.metric, max_drop)} allowed)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """Plans from dense to sparse, and what each is worth.

    Attributes
    ----------
    dense_bytes, dense_bytes_gzipped
        Of the model's files as they are.
    trials
        In the order of their budgets.
    drawn
        What each input was taken to be where drawn samples judge.
    forecast
        As of `CompressResult`.
    """

    model: Path
    dense_bytes: int
    dense_bytes_gzipped: int
    trials: tuple[Trial, ...]
    options: CompressOptions
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    forecast: Forecast | None = None

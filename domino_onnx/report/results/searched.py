"""What a search found, and what it is expected to lose."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from domino_onnx.forecast import Forecast
from domino_onnx.options import CompressOptions
from domino_onnx.outputs import Comparison
from domino_onnx.plurals import quantity
from domino_onnx.report.text import score_in_words
from domino_onnx.scheme import Inventory, Plan
from domino_onnx.search import Decision

__all__ = ["Prediction", "SearchResult"]

_FEWEST = 32
_LARGEST_ERROR = 0.05 / 3
"""Samples, and the standard error of a share, that make a prediction worth printing: 5 points are three errors."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What new data will show of refitted weights: measured on samples that nothing learned from, before finetuning.

    Attributes
    ----------
    metric, score, drop
        What was measured, the value, and how far that is below the dense model's.
    standard_error
        Of the score; None where it is no share of the samples.
    samples
        How many it was measured on.
    """

    metric: str
    score: float
    drop: float
    standard_error: float | None
    samples: int

    @classmethod
    def of(cls, comparison: Comparison | None) -> Prediction | None:
        """None if nothing was measured, or so few samples can't tell."""
        if comparison is None or comparison.samples < _FEWEST or not math.isfinite(comparison.drop):
            return None
        error = comparison.standard_error
        if error is not None and error > _LARGEST_ERROR:
            return None
        return cls(
            metric=comparison.metric,
            score=comparison.dense_score - comparison.drop,
            drop=comparison.drop,
            standard_error=error,
            samples=comparison.samples,
        )

    def in_words(self) -> str:
        """For people."""
        score = score_in_words(self.metric, self.score, self.standard_error)
        return f"{score} on {quantity(self.samples, 'sample')} that nothing learned from, before any finetuning"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A plan, how it was found, and what it is expected to lose where that was measured."""

    plan: Plan
    inventory: Inventory
    decisions: tuple[Decision, ...]
    prediction: Prediction | None
    options: CompressOptions
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    forecast: Forecast | None = None

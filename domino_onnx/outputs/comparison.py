"""How a candidate's outputs differ from the reference's: what was measured, and what is lost by it."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from domino_onnx.outputs.meanings import OutputKind

__all__ = ["Comparison", "CustomScores", "OutputComparison", "OutputMetric"]

OutputMetric = Literal["agreement", "sequence agreement", "cosine", "relative error", "equality"]
_ROUNDING = 1e-9
_MUCH = 0.1
"""From this loss on a user is warned."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """How one output of a candidate differs from the reference's.

    Attributes
    ----------
    means
        What it is taken for, in words.
    metric
        What `drop` is told in.
    drop
        What is lost of that metric, 0 to 1; infinite where the candidate's values aren't finite.
    positions
        Whether a sample has several rows.
    agreement
        Share of rows of classes whose largest one is the same; a row is a sample, or a position of one.
    sequences
        Share of samples that decode to the same sequence, where an output is one (greedy CTC).
    kl
        Mean Kullback-Leibler divergence KL(reference || candidate) of the class distributions, in nats, at least 0.
    cosine
        Mean cosine similarity of embeddings.
    relative_error
        Of values: the mean over channels of the squared error over the channel's variance, that is 1 - R2. A channel
        counts 1 at most.
    worst_channel, worst_error
        The channel that lost most, and its error.
    equal
        Share of integers, strings or booleans that are the same.
    max_abs
        Largest absolute difference of floats.
    """

    name: str
    kind: OutputKind
    means: str
    metric: OutputMetric
    drop: float
    max_abs: float
    positions: bool = False
    agreement: float | None = None
    sequences: float | None = None
    kl: float | None = None
    cosine: float | None = None
    relative_error: float | None = None
    worst_channel: int | None = None
    worst_error: float | None = None
    equal: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CustomScores:
    """What a user's metric gives for the reference itself, and for the candidate; higher is better."""

    name: str
    reference: float
    candidate: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a candidate's outputs differ from the reference's.

    Attributes
    ----------
    outputs
        One by one, in the model's order; those that are ignored are left out.
    finite
        Whether all of the candidate's values are.
    top1_reference, top1_candidate
        Share of samples classified as the labels say; None without labels.
    custom
        By the user's own metric, where one was given.
    """

    samples: int
    outputs: tuple[OutputComparison, ...]
    finite: bool = True
    top1_reference: float | None = None
    top1_candidate: float | None = None
    custom: CustomScores | None = None

    @property
    def metric(self) -> str:
        """What `drop` is told in: the user's own metric, top-1 where there are labels, else the worst output's."""
        if self.custom is not None:
            return self.custom.name
        if self.top1_candidate is not None:
            return "top-1"
        worst = self._worst
        if worst is None:
            return "nothing"
        return worst.metric if len(self.outputs) == 1 else f"{worst.metric} of {worst.name}"

    @property
    def drop(self) -> float:
        """What the candidate loses of that metric; below 0 if it gains, infinite if it can't be told."""
        if not self.finite:
            return math.inf
        if self.custom is not None:
            return self.custom.reference - self.custom.candidate
        if self.top1_candidate is not None and self.top1_reference is not None:
            return self.top1_reference - self.top1_candidate
        return math.inf if self._worst is None else self._worst.drop

    @property
    def dense_score(self) -> float:
        """What the reference has of the metric; it agrees with itself wholly."""
        if self.custom is not None:
            return self.custom.reference
        return 1.0 if self.top1_reference is None else self.top1_reference

    @property
    def counts_samples(self) -> bool:
        """Whether the metric is a share of the samples, or of positions in them."""
        if self.custom is not None or self._worst is None:
            return False
        return self.top1_candidate is not None or self._worst.metric in ("agreement", "sequence agreement")

    @property
    def standard_error(self) -> float | None:
        """Of the metric's value, as far as so few samples can tell it; None where it is no share of them."""
        if not self.counts_samples or not math.isfinite(self.drop):
            return None
        share = (self.samples * min(max(self.dense_score - self.drop, 0.0), 1.0) + 1) / (self.samples + 2)
        return math.sqrt(share * (1 - share) / self.samples)

    @property
    def agreement(self) -> float | None:
        """The smallest of the outputs; None if none tells classes apart."""
        return min((each.agreement for each in self.outputs if each.agreement is not None), default=None)

    @property
    def kl(self) -> float | None:
        """The largest of the outputs, in nats."""
        return max((each.kl for each in self.outputs if each.kl is not None), default=None)

    @property
    def cosine(self) -> float | None:
        """The smallest of the outputs; None without embeddings."""
        return min((each.cosine for each in self.outputs if each.cosine is not None), default=None)

    @property
    def relative_error(self) -> float | None:
        """The largest of the outputs; None without values."""
        return max((each.relative_error for each in self.outputs if each.relative_error is not None), default=None)

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of all outputs."""
        return max((each.max_abs for each in self.outputs), default=0.0)

    def is_within(self, max_drop: float) -> bool:
        """Whether no more than that is lost; 0.912 less 0.902 is a hundredth, though not quite in floats."""
        return self.drop <= max_drop + _ROUNDING

    @property
    def loses_much(self) -> bool:
        """Whether so much is lost that a user is warned: a tenth, and of a user's metric a tenth of the dense score."""
        return not self.is_within(_MUCH * (1.0 if self.custom is None else abs(self.custom.reference)))

    @property
    def _worst(self) -> OutputComparison | None:
        return max(self.outputs, key=lambda each: each.drop, default=None)

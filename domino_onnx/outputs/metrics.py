"""What is compared between two models' outputs, batch after batch, without keeping them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.outputs.channels import ChannelErrors, rows_along
from domino_onnx.outputs.divergence import cosines, kl_divergences
from domino_onnx.outputs.meanings import Meanings, OutputKind, OutputMeaning, Outputs, class_output
from domino_onnx.outputs.sequences import equal_sequences

__all__ = ["Comparison", "CustomScores", "OutputComparison", "OutputMetric", "Tally"]

OutputMetric = Literal["agreement", "sequence agreement", "cosine", "relative error", "equality"]
_ROUNDING = 1e-9


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
    def _worst(self) -> OutputComparison | None:
        return max(self.outputs, key=lambda each: each.drop, default=None)


class Tally:
    """Sums over batches.

    Parameters
    ----------
    meanings
        What the outputs mean (`Survey`).
    """

    def __init__(self, meanings: Meanings) -> None:
        self._sums = {name: _Sums(meaning) for name, meaning in meanings.items() if meaning.kind != "ignored"}
        self._classes = class_output(meanings)
        self._samples = 0
        self._labelled = 0
        self._right = np.zeros(2, np.int64)

    def add(
        self, reference: Outputs, candidate: Outputs, samples: int, labels: NDArray[np.integer] | None = None
    ) -> None:
        """Outputs of one batch of `samples`, by name, of both models.

        Raises
        ------
        DataError
            If a label is no class of the model's.
        """
        self._samples += samples
        for name, sums in self._sums.items():
            if name in reference:
                sums.add(np.asarray(reference[name]), np.asarray(candidate[name]))
        if labels is not None and self._classes is not None:
            self._count_right(self._classes, reference, candidate, labels)

    @property
    def comparable(self) -> bool:
        """Whether any output had the same shape in both models, once at least."""
        return any(sums.comparable for sums in self._sums.values())

    def result(self, custom: CustomScores | None = None) -> Comparison:
        """The means over all that was added, with what the user's metric gave."""
        labelled = self._labelled
        return Comparison(
            samples=self._samples,
            outputs=tuple(sums.result(name) for name, sums in self._sums.items() if sums.seen),
            finite=all(sums.finite for sums in self._sums.values()),
            top1_reference=float(self._right[0]) / labelled if labelled else None,
            top1_candidate=float(self._right[1]) / labelled if labelled else None,
            custom=custom,
        )

    def _count_right(self, name: str, reference: Outputs, candidate: Outputs, labels: NDArray[np.integer]) -> None:
        axis = self._sums[name].meaning.axis
        expected, got = (rows_along(np.asarray(side[name]), axis) for side in (reference, candidate))
        if len(expected) != len(labels) or expected.shape != got.shape:
            return
        if int(labels.max()) >= expected.shape[1]:
            raise DataError(f"the data have the label {int(labels.max())}, the model has {expected.shape[1]} classes")
        self._labelled += len(labels)
        self._right += [np.count_nonzero(rows.argmax(axis=1) == labels) for rows in (expected, got)]


class _Sums:
    """Of one output. Where the candidate gives another shape, as many boxes as it found, all of it is lost."""

    def __init__(self, meaning: OutputMeaning) -> None:
        self.meaning = meaning
        self.finite = True
        self.comparable = False
        self._max_abs = 0.0
        self._rows = 0
        self._agreed = 0
        self._kl = 0.0
        self._sequences = np.zeros(2, np.int64)
        self._cosines = 0.0
        self._errors = ChannelErrors(meaning.axis)
        self._lost = 0

    @property
    def seen(self) -> bool:
        return self._rows > 0

    def add(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        wanted = rows_along(expected, self.meaning.axis)
        self._rows += len(wanted)
        if expected.shape != got.shape:
            self._lost += len(wanted)
            self._sequences[1] += len(expected) if self.meaning.blank is not None else 0
            return
        self.comparable = True
        if self.meaning.kind == "exact":
            self._agreed += int(np.count_nonzero(expected == got))
            return
        with np.errstate(all="ignore"):  # what isn't finite is told by `finite`, not by numpy
            self.finite &= bool(np.isfinite(got).all())
            difference = np.abs(expected.astype(np.float64) - got)
            self._max_abs = max(self._max_abs, float(np.nanmax(difference, initial=0.0)))
            self._by_kind(expected, got)
        if self.meaning.blank is not None:
            winners = [side.argmax(axis=-1) for side in (expected, got)]
            self._sequences += equal_sequences(winners[0], winners[1], self.meaning.blank), len(expected)

    def result(self, name: str) -> OutputComparison:
        """The metric by which the output is judged, and all that was measured of it."""
        kind, found = self.meaning.kind, self._measured()
        metric: OutputMetric
        if kind == "values":
            metric, drop = "relative error", found["relative_error"]
        elif kind == "embedding":
            metric, drop = "cosine", 1 - found["cosine"]
        elif kind == "exact":
            metric, drop = "equality", 1 - found["equal"]
        elif self.meaning.blank is not None:
            metric, drop = "sequence agreement", 1 - found["sequences"]
        else:
            metric, drop = "agreement", 1 - found["agreement"]
        return OutputComparison(
            name=name,
            kind=kind,
            means=self.meaning.in_words(),
            metric=metric,
            drop=float(drop) if self.finite else math.inf,
            max_abs=self._max_abs,
            positions=self.meaning.positions,
            **found,
        )

    def _by_kind(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        if self.meaning.kind == "values":
            self._errors.add(expected, got)
            return
        left, right = (rows_along(side, self.meaning.axis) for side in (expected, got))
        if self.meaning.kind == "embedding":
            self._cosines += float(cosines(left, right).sum())
        else:
            self._agreed += int(np.count_nonzero(left.argmax(axis=-1) == right.argmax(axis=-1)))
            self._kl += float(kl_divergences(left, right, self.meaning).sum())

    def _measured(self) -> dict[str, Any]:
        kind, rows = self.meaning.kind, self._rows
        if kind == "values":
            return self._of_values()
        if kind == "embedding":
            return {"cosine": self._cosines / rows}
        if kind == "exact":
            return {"equal": self._agreed / rows}
        found = {"agreement": self._agreed / rows, "kl": max(self._kl, 0.0) / rows}  # of equal outputs it is noise
        if self.meaning.blank is not None:
            found["sequences"] = float(self._sequences[0]) / max(int(self._sequences[1]), 1)
        return found

    def _of_values(self) -> dict[str, Any]:
        """Each channel's error over its scale; rows of another shape are one variance off."""
        lost, errors = self._lost / self._rows, self._errors.relative(self.meaning.scales)
        found: dict[str, Any] = {"relative_error": float(np.minimum(errors, 1.0).mean()) * (1 - lost) + lost}
        if len(errors) > 1:
            worst = int(np.argmax(errors))
            found |= {"worst_channel": worst, "worst_error": float(errors[worst])}
        return found

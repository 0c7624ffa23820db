"""What is compared between two models' outputs, batch after batch, without keeping them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.outputs.divergence import cosines, kl_divergences
from domino_onnx.outputs.kinds import OutputKind, OutputKinds, Outputs, class_output
from domino_onnx.outputs.variance import Variance, squared_error

__all__ = ["Comparison", "Tally"]

_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a candidate's outputs differ from the reference's.

    Attributes
    ----------
    kinds
        What each output is; outputs that aren't floats have no kind.
    agreement
        Share of rows whose largest class score is the same one; None if no output tells classes apart.
    kl
        Mean Kullback-Leibler divergence KL(reference || candidate) of the class distributions, in nats, at least 0.
    cosine
        Mean cosine similarity of the embeddings; without embeddings that of all floating-point outputs per sample.
    relative_error
        Of outputs that are values: the squared error over the variance, that is 1 - R2, the mean over these outputs;
        None if there are none.
    max_abs
        Largest absolute difference.
    top1_reference, top1_candidate
        Share of samples classified as the labels say; None without labels.
    """

    samples: int
    cosine: float | None
    max_abs: float
    finite: bool
    agreement: float | None = None
    kl: float | None = None
    relative_error: float | None = None
    top1_reference: float | None = None
    top1_candidate: float | None = None
    kinds: Mapping[str, OutputKind] = dataclasses.field(default_factory=dict)

    @property
    def metric(self) -> str:
        """What `drop` is told in: top-1 where there are labels, else by kind: agreement, cosine, or relative error."""
        if self.top1_candidate is not None:
            return "top-1"
        if self.agreement is not None:
            return "agreement"
        return "relative error" if "embedding" not in self.kinds.values() else "cosine"

    @property
    def drop(self) -> float:
        """What the candidate loses of that metric, 0 to 1; less than 0 if it gains, infinite if it can't be told."""
        if not self.finite:
            return math.inf
        if self.top1_candidate is not None and self.top1_reference is not None:
            return self.top1_reference - self.top1_candidate
        if self.metric == "relative error":
            return math.inf if self.relative_error is None else min(self.relative_error, 1.0)
        kept = self.agreement if self.agreement is not None else self.cosine
        return math.inf if kept is None else 1 - kept

    def is_within(self, max_drop: float) -> bool:
        """Whether no more than that is lost; 0.912 less 0.902 is a hundredth, though not quite in floats."""
        return self.drop <= max_drop + _ROUNDING


class Tally:
    """Sums over batches.

    Parameters
    ----------
    kinds
        What the outputs are (`decide_kinds`).
    """

    def __init__(self, kinds: OutputKinds) -> None:
        self._kinds = kinds
        self._samples = 0
        self._answers = _Answers()
        self._cosines = {"embedding": np.zeros(2), "all": np.zeros(2)}  # sums, and how many were added up
        self._errors: dict[str, float] = {}
        self._variances: dict[str, Variance] = {}
        self._values: dict[str, int] = {}
        self._max_abs = 0.0
        self._finite = True

    def add(
        self, reference: Outputs, candidate: Outputs, samples: int, labels: NDArray[np.integer] | None = None
    ) -> None:
        """Outputs of one batch of `samples`, by name, of both models; both have the same names and shapes.

        Raises
        ------
        DataError
            If a label is no class of the model's.
        """
        self._samples += samples
        classes = class_output(self._kinds, reference, samples)
        with np.errstate(all="ignore"):  # what isn't finite is told by `finite`, not by numpy
            for name, expected in reference.items():
                if name not in self._kinds:
                    continue
                self._compare(expected.astype(np.float64), candidate[name].astype(np.float64), samples)
                self._by_kind(name, expected, candidate[name])
                if name == classes:
                    rows = labels if expected.ndim == 2 and len(expected) == samples else None
                    self._answers.add(expected, candidate[name], self._kinds[name], rows)

    def result(self) -> Comparison:
        """The means over all that was added."""
        errors = [
            error / max(self._values[name], 1) / self._variances[name].value for name, error in self._errors.items()
        ]
        cosine, count = self._cosines["embedding" if self._cosines["embedding"][1] else "all"]
        return Comparison(
            samples=self._samples,
            cosine=float(cosine / count) if count else None,
            max_abs=self._max_abs,
            finite=self._finite,
            relative_error=sum(errors) / len(errors) if errors else None,
            kinds=dict(self._kinds),
            **self._answers.result(),
        )

    def _compare(self, expected: NDArray[np.float64], got: NDArray[np.float64], samples: int) -> None:
        self._finite &= bool(np.isfinite(got).all())
        difference = np.abs(expected - got)
        if difference.size:
            self._max_abs = max(self._max_abs, float(np.nanmax(difference, initial=0.0)))
        rows = samples if expected.ndim and len(expected) == samples else 1
        found = cosines(expected.reshape(rows, -1), got.reshape(rows, -1))
        self._cosines["all"] += found.sum(), rows

    def _by_kind(self, name: str, expected: NDArray[np.floating], got: NDArray[np.floating]) -> None:
        if self._kinds[name] == "embedding":
            found = cosines(expected, got)
            self._cosines["embedding"] += found.sum(), found.size
        elif self._kinds[name] == "values":
            self._errors[name] = self._errors.get(name, 0.0) + squared_error(expected, got)
            self._values[name] = self._values.get(name, 0) + int(np.isfinite(expected).sum())
            self._variances.setdefault(name, Variance()).add(expected)


class _Answers:
    """Sums over the rows of the output that tells classes apart."""

    def __init__(self) -> None:
        self._rows = 0
        self._agreed = 0
        self._kl = 0.0
        self._labelled = 0
        self._right = np.zeros(2, np.int64)

    def add(
        self,
        expected: NDArray[np.floating],
        got: NDArray[np.floating],
        kind: OutputKind,
        labels: NDArray[np.integer] | None,
    ) -> None:
        ours, theirs = expected.argmax(axis=-1), got.argmax(axis=-1)
        self._rows += ours.size
        self._agreed += int(np.count_nonzero(ours == theirs))
        self._kl += float(kl_divergences(expected, got, kind).sum())
        if labels is not None:
            if int(labels.max()) >= expected.shape[1]:
                raise DataError(
                    f"the data have the label {int(labels.max())}, the model has {expected.shape[1]} classes"
                )
            self._labelled += len(labels)
            self._right += [np.count_nonzero(ours == labels), np.count_nonzero(theirs == labels)]

    def result(self) -> dict[str, float | None]:
        rows, labelled = self._rows, self._labelled
        return {
            "agreement": self._agreed / rows if rows else None,
            "kl": max(self._kl, 0.0) / rows if rows else None,  # of equal outputs it is float noise
            "top1_reference": float(self._right[0]) / labelled if labelled else None,
            "top1_candidate": float(self._right[1]) / labelled if labelled else None,
        }

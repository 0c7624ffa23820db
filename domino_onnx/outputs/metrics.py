"""What is compared between two models' outputs, batch after batch, without keeping them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.outputs import tells_classes

__all__ = ["Comparison", "Tally"]

_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a candidate's outputs differ from the reference's.

    Attributes
    ----------
    agreement
        Share of samples whose largest class score is the same one; None if no output looks like class scores.
    kl
        Mean Kullback-Leibler divergence KL(reference || candidate) of the class distributions, in nats.
    cosine
        Mean cosine similarity of the outputs per sample, flattened; over all floating-point outputs.
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
    top1_reference: float | None = None
    top1_candidate: float | None = None

    @property
    def metric(self) -> str:
        """What `drop` is told in: top-1 where there are labels, agreement where there are classes, else cosine."""
        if self.top1_candidate is not None:
            return "top-1"
        return "agreement" if self.agreement is not None else "cosine"

    @property
    def drop(self) -> float:
        """What the candidate loses of that metric, 0 to 1; less than 0 if it gains, infinite if it can't be told."""
        if not self.finite:
            return math.inf
        if self.top1_candidate is not None and self.top1_reference is not None:
            return self.top1_reference - self.top1_candidate
        kept = self.agreement if self.agreement is not None else self.cosine
        return math.inf if kept is None else 1 - kept

    def is_within(self, max_drop: float) -> bool:
        """Whether no more than that is lost; 0.912 less 0.902 is a hundredth, though not quite in floats."""
        return self.drop <= max_drop + _ROUNDING


class Tally:
    """Sums over batches; `scores` is the output that holds class scores, the first that tells classes apart."""

    def __init__(self) -> None:
        self._scores: str | None = None
        self._told: dict[str, bool] = {}
        self._samples = 0
        self._classified = 0
        self._agreed = 0
        self._kl = 0.0
        self._labelled = 0
        self._right = np.zeros(2, np.int64)
        self._cosine = 0.0
        self._cosines = 0
        self._max_abs = 0.0
        self._finite = True

    def add(
        self,
        reference: dict[str, NDArray[Any]],
        candidate: dict[str, NDArray[Any]],
        samples: int,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Outputs of one batch of `samples`, by name, of both models; both have the same names and shapes."""
        self._samples += samples
        with np.errstate(all="ignore"):  # what isn't finite is told by `finite`, not by numpy
            self._add(reference, candidate, samples, labels)

    def _add(
        self,
        reference: dict[str, NDArray[Any]],
        candidate: dict[str, NDArray[Any]],
        samples: int,
        labels: NDArray[np.int64] | None,
    ) -> None:
        for name, expected in reference.items():
            if expected.dtype.kind != "f":
                continue
            self._compare(expected.astype(np.float64), candidate[name].astype(np.float64), samples)
            if self._scores in (None, name) and len(expected) == samples and self._tells_classes(name, expected):
                self._scores = name
                self._classify(expected.astype(np.float64), candidate[name].astype(np.float64), labels)

    def result(self) -> Comparison:
        """The means over all that was added."""
        classified, labelled = self._classified, self._labelled
        return Comparison(
            samples=self._samples,
            cosine=self._cosine / self._cosines if self._cosines else None,
            max_abs=self._max_abs,
            finite=self._finite,
            agreement=self._agreed / classified if classified else None,
            kl=self._kl / classified if classified else None,
            top1_reference=float(self._right[0]) / labelled if labelled else None,
            top1_candidate=float(self._right[1]) / labelled if labelled else None,
        )

    def _tells_classes(self, name: str, expected: NDArray[np.generic]) -> bool:
        """Whether an output does, by the first batch of it: all batches are judged alike."""
        if name not in self._told:
            self._told[name] = expected.ndim == 2 and tells_classes(expected)
        return self._told[name]

    def _compare(self, expected: NDArray[np.float64], got: NDArray[np.float64], samples: int) -> None:
        self._finite &= bool(np.isfinite(got).all())
        difference = np.abs(expected - got)
        if difference.size:
            self._max_abs = max(self._max_abs, float(np.nanmax(difference, initial=0.0)))
        rows = samples if len(expected.shape) and len(expected) == samples else 1
        left, right = expected.reshape(rows, -1), got.reshape(rows, -1)
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        dots = np.sum(left * right, axis=1)
        same = np.all(left == right, axis=1)
        self._cosine += float(np.sum(np.where(same, 1.0, np.divide(dots, norms, out=np.zeros(rows), where=norms > 0))))
        self._cosines += rows

    def _classify(
        self, expected: NDArray[np.float64], got: NDArray[np.float64], labels: NDArray[np.int64] | None
    ) -> None:
        ours, theirs = expected.argmax(axis=1), got.argmax(axis=1)
        self._classified += len(ours)
        self._agreed += int(np.count_nonzero(ours == theirs))
        log_p, log_q = _log_probabilities(expected), _log_probabilities(got)
        self._kl += float(np.sum(np.exp(log_p) * (log_p - log_q)))
        if labels is not None:
            if int(labels.max()) >= expected.shape[1]:
                raise DataError(
                    f"the data have the label {int(labels.max())}, the model has {expected.shape[1]} classes"
                )
            self._labelled += len(labels)
            self._right += [np.count_nonzero(ours == labels), np.count_nonzero(theirs == labels)]


def _log_probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the class distribution: of the scores themselves if they are probabilities, else of their softmax."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return np.log(np.maximum(scores, 1e-12))
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))  # type: ignore[no-any-return]

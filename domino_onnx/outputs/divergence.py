"""How far a changed model's outputs are from the dense one's, in one number that losses of sites can be added up in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs.channels import ChannelErrors, rows_along
from domino_onnx.outputs.meanings import LEARNED, Meanings, OutputMeaning, Outputs

__all__ = ["OutputDivergence", "cosines", "kl_divergences"]

_SMALLEST = 1e-8
"""The smallest probability that is told from none."""
_VALUES_AT_ONCE = 1 << 16
"""Of one output: so many that what is made of them stays in the processor's cache."""
_UNRELATED = 2.0
"""What unrelated numbers are apart, in variances. A channel that is worse counts for less than it is off."""


class OutputDivergence:
    """The mean over rows of what each output is off by, added up over the outputs; never below 0.

    - Classes: the Kullback-Leibler divergence, in nats.
    - Embeddings: the squared distance of the vectors at length 1, which is 2 (1 - cosine).
    - Values: the mean over channels of the squared error over the channel's variance, that is 1 - R2.

    Of unrelated outputs the last two come to 2 alike. A channel that is off by more counts 2 and the logarithm of the
    rest, so that one channel that hardly varies doesn't outweigh all others.

    Parameters
    ----------
    meanings
        What the outputs mean (`Survey`), with the scales that values are measured by.
    """

    def __init__(self, meanings: Meanings) -> None:
        self._meanings = {name: meaning for name, meaning in meanings.items() if meaning.kind in LEARNED}

    @property
    def usable(self) -> bool:
        """Whether there is an output to compare at all."""
        return bool(self._meanings)

    def __call__(self, reference: Iterable[Outputs], outputs: Iterable[Outputs]) -> float:
        """The divergence over these batches, each looked at once; infinite where outputs aren't finite."""
        found = {name: _errors_of(meaning) for name, meaning in self._meanings.items()}
        for expected, got in zip(reference, outputs, strict=True):
            for name, errors in found.items():
                errors.add(expected[name], got[name])
        total = sum((max(errors.mean(), 0.0) for errors in found.values()), 0.0)  # equal outputs give 0 or float noise
        return total if np.isfinite(total) else float("inf")


def _errors_of(meaning: OutputMeaning) -> _OfValues | _OfRows:
    return _OfValues(meaning) if meaning.kind == "values" else _OfRows(meaning)


class _OfValues:
    """Outputs of another shape, as many boxes as were found, are one variance off."""

    def __init__(self, meaning: OutputMeaning) -> None:
        self._errors = ChannelErrors(meaning.axis, meaning.scales)
        self._alike = self._others = 0

    def add(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        if expected.shape != got.shape:
            self._others += max(expected.size, 1)
            return
        self._alike += expected.size
        with np.errstate(all="ignore"):
            self._errors.add(expected, got)

    def mean(self) -> float:
        with np.errstate(all="ignore"):
            found = self._errors.relative()
            softened = np.where(found > _UNRELATED, _UNRELATED * (1 + np.log(found / _UNRELATED)), found)
        return (float(softened.mean()) * self._alike + self._others) / max(self._alike + self._others, 1)


class _OfRows:
    """The mean over rows; rows of outputs of another shape are 1 apart."""

    def __init__(self, meaning: OutputMeaning) -> None:
        self._meaning = meaning
        self._total, self._count = 0.0, 0

    def add(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        rows = rows_along(expected, self._meaning.axis)
        if expected.shape != got.shape:
            self._total += len(rows)
        else:
            with np.errstate(all="ignore"):
                self._total += float(np.sum(_apart(rows, rows_along(got, self._meaning.axis), self._meaning)))
        self._count += len(rows)

    def mean(self) -> float:
        return self._total / max(self._count, 1)


def _apart(expected: NDArray[Any], got: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    if meaning.kind == "embedding":
        return 2 * (1 - cosines(expected, got))
    return kl_divergences(expected, got, meaning)


def kl_divergences(expected: NDArray[Any], got: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    """Of each of (rows, classes), in nats: KL(expected || got), up to float noise around 0.

    A row that holds NaN or +inf in `expected` names no probabilities: 0.
    """
    rows, classes = expected.shape
    found = np.empty(rows)
    step = max(1, _VALUES_AT_ONCE // max(classes, 1))
    for start in range(0, rows, step):
        some = slice(start, start + step)
        log_p, log_q = _log_probabilities(expected[some], meaning), _log_probabilities(got[some], meaning)
        terms = np.exp(log_p)
        terms *= np.subtract(log_p, log_q, out=log_q)
        found[some] = np.sum(terms, axis=-1, where=log_p > -np.inf)  # 0 log 0 is 0
    return found


def cosines(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.float64]:
    """Of each row; 1 where both are the same, and 0 where only one of them has a direction.

    A row that isn't finite in `expected` has no direction to be off by: 1.
    """
    left, right = expected.astype(np.float64), got.astype(np.float64)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    dots = np.sum(left * right, axis=-1)
    found = np.divide(dots, lengths, out=np.zeros(np.shape(dots)), where=lengths != 0)
    return np.where(np.all(left == right, axis=-1) | ~np.isfinite(left).all(axis=-1), 1.0, found)


def _log_probabilities(scores: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    found = scores.astype(np.float64)
    if meaning.kind == "probabilities":
        np.maximum(found, _SMALLEST, out=found)
        return np.log(found, out=found)
    found -= found.max(axis=-1, keepdims=True)
    found -= np.log(np.sum(np.exp(found), axis=-1, keepdims=True))
    return found

"""How far a changed model's outputs are from the dense one's, in one number that losses of sites can be added up in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs.channels import ChannelErrors, rows_along
from domino_onnx.outputs.meanings import LEARNED, Meanings, OutputMeaning, Outputs

__all__ = ["OutputDivergence", "cosines", "kl_divergences"]

_SMALLEST = 1e-8
"""The smallest probability that is told from none."""
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

    def __call__(self, reference: Sequence[Outputs], outputs: Sequence[Outputs]) -> float:
        """The divergence over these batches; infinite where outputs aren't finite."""
        total = 0.0
        for name, meaning in self._meanings.items():
            pairs = [(expected[name], got[name]) for expected, got in zip(reference, outputs, strict=True)]
            found = _of_values(pairs, meaning) if meaning.kind == "values" else _of_rows(pairs, meaning)
            total += max(found, 0.0)  # equal outputs give 0 or float noise
        return total if np.isfinite(total) else float("inf")


_Pairs = Sequence[tuple[NDArray[Any], NDArray[Any]]]


def _of_values(pairs: _Pairs, meaning: OutputMeaning) -> float:
    """Outputs of another shape, as many boxes as were found, are one variance off."""
    errors = ChannelErrors(meaning.axis)
    alike = [(expected, got) for expected, got in pairs if expected.shape == got.shape]
    with np.errstate(all="ignore"):
        for expected, got in alike:
            errors.add(expected, got)
        found = errors.relative(meaning.scales)
        softened = np.where(found > _UNRELATED, _UNRELATED * (1 + np.log(found / _UNRELATED)), found)
    sizes = [expected.size for expected, _ in alike]
    others = sum(max(expected.size, 1) for expected, got in pairs if expected.shape != got.shape)
    return (float(softened.mean()) * sum(sizes) + others) / max(sum(sizes) + others, 1)


def _of_rows(pairs: _Pairs, meaning: OutputMeaning) -> float:
    """The mean over rows; rows of outputs of another shape are 1 apart."""
    total, count = 0.0, 0
    for expected, got in pairs:
        rows = rows_along(expected, meaning.axis)
        if expected.shape != got.shape:
            total += len(rows)
        else:
            with np.errstate(all="ignore"):
                total += float(np.sum(_apart(rows, rows_along(got, meaning.axis), meaning)))
        count += len(rows)
    return total / max(count, 1)


def _apart(expected: NDArray[Any], got: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    if meaning.kind == "embedding":
        return 2 * (1 - cosines(expected, got))
    return kl_divergences(expected, got, meaning)


def kl_divergences(expected: NDArray[Any], got: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    """Of each of (rows, classes), in nats: KL(expected || got), up to float noise around 0."""
    log_p, log_q = _log_probabilities(expected, meaning), _log_probabilities(got, meaning)
    terms = np.exp(log_p) * (log_p - log_q)
    sums: NDArray[np.float64] = np.sum(terms, axis=-1, where=np.isnan(log_p) | (log_p > -np.inf))  # 0 log 0 is 0
    return sums


def cosines(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.float64]:
    """Of each row; 1 where both are the same, and 0 where only one of them has a direction."""
    left, right = expected.astype(np.float64), got.astype(np.float64)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    dots = np.sum(left * right, axis=-1)
    found = np.divide(dots, lengths, out=np.zeros(np.shape(dots)), where=lengths != 0)
    return np.where(np.all(left == right, axis=-1), 1.0, found)


def _log_probabilities(scores: NDArray[Any], meaning: OutputMeaning) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    if meaning.kind == "probabilities":
        return np.log(np.maximum(wide, _SMALLEST))
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))  # type: ignore[no-any-return]

"""How far a changed model's outputs are from the dense one's, in one number that losses of sites can be added up in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs.kinds import CLASSES, OutputKind, OutputKinds, Outputs, class_output
from domino_onnx.outputs.variance import squared_error, variances

__all__ = ["OutputDivergence", "cosines", "kl_divergences"]

_SMALLEST = 1e-8
"""The smallest probability that is told from none."""


class OutputDivergence:
    """The mean over rows of what each output is off by, added up over the outputs; never below 0.

    - Classes: the Kullback-Leibler divergence, in nats.
    - Embeddings: the squared distance of the vectors at length 1, which is 2 (1 - cosine).
    - Values: the mean square error over the variance, that is 1 - R2.

    Of unrelated outputs the last two come to 2 alike.

    Parameters
    ----------
    reference
        The dense model's outputs, batch by batch. Values are measured against their variance.
    kinds
        What the outputs are (`decide_kinds`).
    """

    def __init__(self, reference: Sequence[Outputs], kinds: OutputKinds) -> None:
        self._reference = reference
        self._kinds = {name: kind for name, kind in kinds.items() if name in reference[0]}
        self._scales = variances(reference)

    @property
    def measure(self) -> str:
        """``"KL"`` if any output tells classes apart, else ``"relative error"``."""
        return "KL" if any(kind in CLASSES for kind in self._kinds.values()) else "relative error"

    @property
    def usable(self) -> bool:
        """Whether there is an output to compare at all."""
        return bool(self._kinds)

    def __call__(self, outputs: Sequence[Outputs]) -> float:
        """The divergence of as many batches as are given, from the first on; infinite where outputs aren't finite."""
        return self.between(self._reference, outputs)

    def between(self, reference: Sequence[Outputs], outputs: Sequence[Outputs]) -> float:
        """The same for other batches than those of the reference, which values are still measured against."""
        total = 0.0
        for name in self._kinds:
            parts = [
                self._of_batch(name, expected[name], got[name])
                for expected, got in zip(reference, outputs, strict=False)
            ]
            rows = sum(count for _, count in parts)
            total += max(sum(value for value, _ in parts), 0.0) / max(rows, 1)  # equal outputs give 0 or float noise
        return total if np.isfinite(total) else float("inf")

    def changed_answers(self, outputs: Sequence[Outputs]) -> float | None:
        """Share of rows whose likeliest class is another one than the dense model's; None if there are no classes."""
        name = class_output(self._kinds, self._reference[0])
        if name is None:
            return None
        changed = [
            expected[name].argmax(axis=-1) != got[name].argmax(axis=-1)
            for expected, got in zip(self._reference, outputs, strict=False)
            if expected[name].shape == got[name].shape
        ]
        return float(np.concatenate([part.reshape(-1) for part in changed]).mean()) if changed else None

    def _of_batch(self, name: str, expected: NDArray[Any], got: NDArray[Any]) -> tuple[float, int]:
        """The sum over rows, and how many there are; every value of `values` counts as a row."""
        kind = self._kinds[name]
        rows = expected.size if kind == "values" else expected.size // max(expected.shape[-1], 1)
        if expected.shape != got.shape:  # as many boxes as were found: nothing can be compared row by row
            return float(max(rows, 1)), max(rows, 1)
        with np.errstate(all="ignore"):
            if kind == "values":
                return squared_error(expected, got) / self._scales[name], rows
            if kind == "embedding":
                return float(np.sum(2 * (1 - cosines(expected, got)))), rows
            return float(np.sum(kl_divergences(expected, got, kind))), rows


def kl_divergences(expected: NDArray[Any], got: NDArray[Any], kind: OutputKind) -> NDArray[np.float64]:
    """Of each row of classes, in nats: KL(expected || got), up to float noise around 0."""
    log_p, log_q = _log_probabilities(expected, kind), _log_probabilities(got, kind)
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


def _log_probabilities(scores: NDArray[Any], kind: OutputKind) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    if kind == "probabilities":
        return np.log(np.maximum(wide, _SMALLEST))
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))  # type: ignore[no-any-return]

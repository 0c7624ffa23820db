"""How far a changed model's outputs are from the dense one's, in one number that losses of sites can be added up in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["OutputDivergence", "tells_classes"]

_Kind = Literal["logits", "probabilities", "values"]
_TINY = 1e-8
_UNDECIDED = 0.98
"""Share of the largest entropy above which scores tell no classes apart: an embedding, not logits."""
_Outputs = Mapping[str, NDArray[Any]]


class OutputDivergence:
    """Mean KL divergence of class distributions, in nats; the mean square error over the variance for other outputs.

    (batch, classes) floats are probabilities if every row adds up to 1, else logits if their softmax prefers any class
    (embeddings don't). The last axis of longer tensors
    counts as classes only if it adds up to 1. Several outputs are added up.

    Parameters
    ----------
    reference
        The dense model's outputs, batch by batch.
    """

    def __init__(self, reference: Sequence[_Outputs]) -> None:
        self._reference = reference
        first = reference[0]
        self._kinds: dict[str, _Kind] = {
            name: _kind(output) for name, output in first.items() if output.dtype.kind == "f" and output.size
        }
        self._scales = {
            name: _variance([batch[name] for batch in reference])
            for name, kind in self._kinds.items()
            if kind == "values"
        }

    @property
    def is_kl(self) -> bool:
        """Whether any output is a class distribution."""
        return any(kind != "values" for kind in self._kinds.values())

    @property
    def usable(self) -> bool:
        """Whether there is a floating-point output at all."""
        return bool(self._kinds)

    def __call__(self, outputs: Sequence[_Outputs]) -> float:
        """The divergence of as many batches as are given, from the first on; infinite where outputs aren't finite."""
        total = 0.0
        for name in self._kinds:
            parts = [
                self._of_batch(name, expected[name], got[name])
                for expected, got in zip(self._reference, outputs, strict=False)
            ]
            rows = sum(count for _, count in parts)
            total += sum(value for value, _ in parts) / max(rows, 1)
        return total if np.isfinite(total) else float("inf")

    def changed_answers(self, outputs: Sequence[_Outputs]) -> float | None:
        """Share of rows whose likeliest class is another one than the dense model's; None if there are no classes."""
        name = next((name for name, kind in self._kinds.items() if kind != "values"), None)
        if name is None:
            return None
        changed = [
            expected[name].argmax(axis=-1) != got[name].argmax(axis=-1)
            for expected, got in zip(self._reference, outputs, strict=False)
            if expected[name].shape == got[name].shape
        ]
        return float(np.concatenate([part.reshape(-1) for part in changed]).mean()) if changed else None

    def _of_batch(self, name: str, expected: NDArray[Any], got: NDArray[Any]) -> tuple[float, int]:
        """The sum over rows, and how many there are."""
        kind = self._kinds[name]
        rows = expected.size if kind == "values" else expected.size // max(expected.shape[-1], 1)
        if expected.shape != got.shape:  # as many boxes as were found: nothing can be compared row by row
            return float(max(rows, 1)), max(rows, 1)
        with np.errstate(all="ignore"):
            if kind == "values":
                difference = expected.astype(np.float64) - got.astype(np.float64)
                return float(np.sum(difference**2, where=np.isfinite(expected))) / self._scales[name], rows
            log_p, log_q = _log_probabilities(expected, kind), _log_probabilities(got, kind)
            terms = np.exp(log_p) * (log_p - log_q)
            return float(np.sum(terms, where=np.isnan(log_p) | (log_p > -np.inf))), rows  # 0 log 0 is 0


def tells_classes(output: NDArray[Any]) -> bool:
    """Whether the last axis of these floats is class probabilities or logits: (batch, classes), or adding up to 1."""
    return _kind(output) != "values"


def _kind(output: NDArray[Any]) -> _Kind:
    if output.ndim < 2 or output.shape[-1] < 2:
        return "values"
    if float(output.min()) >= 0 and np.allclose(output.sum(axis=-1, dtype=np.float64), 1, atol=1e-3):
        return "probabilities"
    if output.ndim != 2:
        return "values"
    log_p = _log_probabilities(output, "logits")
    entropy = -float(np.mean(np.sum(np.exp(log_p) * np.maximum(log_p, -1e3), axis=-1)))
    return "logits" if entropy < _UNDECIDED * np.log(output.shape[-1]) else "values"


def _variance(parts: Sequence[NDArray[Any]]) -> float:
    """Over everything that is finite; a trifle more, so that it can be divided by."""
    finite = [part[np.isfinite(part)].astype(np.float64) for part in parts]
    count = max(sum(part.size for part in finite), 1)
    mean = sum(float(part.sum()) for part in finite) / count
    squares = sum(float(np.sum((part - mean) ** 2)) for part in finite)
    return float(squares / count) + _TINY


def _log_probabilities(scores: NDArray[Any], kind: _Kind) -> NDArray[np.float64]:
    wide = scores.astype(np.float64)
    if kind == "probabilities":
        return np.log(np.maximum(wide, _TINY))
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))  # type: ignore[no-any-return]

"""A user's own metric: a function in a Python file, which compares what two models answer."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import MetricError
from domino_onnx.files import sha256_of
from domino_onnx.outputs import CustomScores, Outputs

__all__ = ["Answers", "Metric", "load_metric"]

_FORM = "FILE.py:FUNCTION"
_Function = Callable[[Mapping[str, Any], Mapping[str, Any], NDArray[Any] | None], float]


class Answers:
    """All outputs of both models on the samples that judge, kept for a metric that wants them at once.

    Parameters
    ----------
    batch_axes
        The axis that counts samples, of outputs where it isn't the first.
    """

    def __init__(self, batch_axes: Mapping[str, int] | None = None) -> None:
        self._batch_axes = batch_axes or {}
        self._reference: dict[str, list[Any]] = {}
        self._candidate: dict[str, list[Any]] = {}
        self._labels: list[NDArray[Any]] = []
        self._batches: list[int] = []

    def add(self, reference: Outputs, candidate: Outputs, samples: int, labels: NDArray[Any] | None) -> None:
        """One more batch."""
        self._batches.append(samples)
        for kept, outputs in ((self._reference, reference), (self._candidate, candidate)):
            for name, output in outputs.items():
                kept.setdefault(name, []).append(output)
        if labels is not None:
            self._labels.append(labels)

    def scores(self, metric: Metric) -> CustomScores:
        """What the metric gives for the reference compared with itself, and for the candidate.

        Raises
        ------
        MetricError
            If it fails, or gives no finite number.
        """
        labels = np.concatenate(self._labels) if self._labels else None
        reference, candidate = (
            {name: _joined(parts, self._batches, self._batch_axes.get(name, 0)) for name, parts in kept.items()}
            for kept in (self._reference, self._candidate)
        )
        return CustomScores(
            name=metric.name,
            reference=metric(reference, reference, labels),
            candidate=metric(reference, candidate, labels),
        )


class Metric:
    """A function of (reference, candidate, labels) that gives a number: the higher, the better.

    `reference` and `candidate` map the outputs' names to arrays of all samples, or to a list of one array a batch where
    batches can't be joined. Of samples that have several shapes it is one array a sample, in their order. `labels` are
    (samples,) int64 class indices, or (samples, ...) of any numbers or text, or None.

    Attributes
    ----------
    name
        The function's.
    sha256
        Of the file that holds it, hexadecimal; None for a function that no file was named for.
    """

    def __init__(self, text: str, function: _Function, sha256: str | None = None) -> None:
        self.name = text.rpartition(":")[2]
        self.sha256 = sha256
        self._text = text
        self._function = function

    def __call__(
        self, reference: Mapping[str, Any], candidate: Mapping[str, Any], labels: NDArray[Any] | None
    ) -> float:
        """Ask it.

        Raises
        ------
        MetricError
            If it fails, or gives no finite number.
        """
        try:
            found = float(self._function(reference, candidate, labels))
        except Exception as error:  # a user's code may raise anything
            raise MetricError(f"--metric {self._text} failed: {type(error).__name__}: {error}") from error
        if not math.isfinite(found):
            raise MetricError(f"--metric {self._text} gives {found}; it must give a finite number")
        return found


def load_metric(text: str) -> Metric:
    """The function that ``FILE.py:FUNCTION`` names. The file is run once.

    Raises
    ------
    MetricError
        If the file or the function is missing, or the file can't be run.
    """
    file, colon, name = text.rpartition(":")
    path = Path(file)
    if not colon or not name.isidentifier():
        raise MetricError(f"--metric {text} names no function: give {_FORM}")
    if not path.is_file():
        raise MetricError(f"--metric {text}: there is no file {path}; give {_FORM}")
    spec = importlib.util.spec_from_file_location("domino_onnx_user_metric", path)
    if spec is None or spec.loader is None:
        raise MetricError(f"--metric {text}: {path} is no Python file; give {_FORM}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code may raise anything
        raise MetricError(f"--metric {text}: {path} can't be run: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise MetricError(f"--metric {text}: {path} has no function {name!r}")
    return Metric(text, function, sha256_of(path))


def _joined(parts: Sequence[Any], batches: Sequence[int], axis: int) -> Any:
    """One array of all samples where that axis counts them in every batch; else the list of batches."""
    if not all(isinstance(part, np.ndarray) and part.ndim > axis for part in parts):
        return list(parts)
    others = {tuple(np.delete(part.shape, axis)) for part in parts}
    fits = len(others) == 1 and all(part.shape[axis] == samples for part, samples in zip(parts, batches, strict=True))
    return np.concatenate(parts, axis) if fits else list(parts)

"""Two models' outputs compared batch after batch, without keeping them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.outputs.channels import ChannelErrors, rows_along
from domino_onnx.outputs.comparison import Comparison, CustomScores, OutputComparison, OutputMetric
from domino_onnx.outputs.divergence import cosines, kl_divergences
from domino_onnx.outputs.meanings import Meanings, OutputMeaning, Outputs, class_output
from domino_onnx.outputs.sequences import equal_sequences, winning_classes

__all__ = ["Tally"]


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
        self._errors = ChannelErrors(meaning.axis, meaning.scales)
        self._lost = 0

    @property
    def _batch_axis(self) -> int:
        return self.meaning.batch_axis or 0

    @property
    def seen(self) -> bool:
        return self._rows > 0

    def add(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        wanted = rows_along(expected, self.meaning.axis)
        self._rows += len(wanted)
        if expected.shape != got.shape:
            self._lost += len(wanted)
            self._sequences[1] += expected.shape[self._batch_axis] if self.meaning.blank is not None else 0
            return
        self.comparable = True
        if self.meaning.kind == "exact":
            self._agreed += int(np.count_nonzero(expected == got))
            return
        with np.errstate(all="ignore"):  # what isn't finite is told by `finite`, not by numpy
            self.finite &= not _spoiled(expected, got)
            difference = np.abs(expected.astype(np.float64) - got)
            self._max_abs = max(self._max_abs, float(np.nanmax(difference, initial=0.0)))
            self._by_kind(expected, got)
        if self.meaning.blank is not None:
            winners = [winning_classes(side, self._batch_axis) for side in (expected, got)]
            self._sequences += equal_sequences(winners[0], winners[1], self.meaning.blank), len(winners[0])

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
        lost, errors = self._lost / self._rows, self._errors.relative()
        found: dict[str, Any] = {"relative_error": float(np.minimum(errors, 1.0).mean()) * (1 - lost) + lost}
        if len(errors) > 1:
            worst = int(np.argmax(errors))
            found |= {"worst_channel": worst, "worst_error": float(errors[worst])}
        return found


def _spoiled(expected: NDArray[Any], got: NDArray[Any]) -> bool:
    """Whether NaN or infinity is where the reference has none. Some models give them: suppressed classes are -inf."""
    if np.isfinite(got).all():
        return False
    return bool(np.any(np.isnan(got) & ~np.isnan(expected)) or np.any(np.isinf(got) & np.isfinite(expected)))

"""What outputs mean, decided once from the dense model's outputs of all samples, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs.channels import ChannelMoments, channel_axis, rows_along, scales
from domino_onnx.outputs.evidence import agree_with_labels, decide_differently, evidence_of_winners
from domino_onnx.outputs.meanings import OutputKind, OutputMeaning, Outputs
from domino_onnx.outputs.sequences import BlankEvidence, winning_classes

__all__ = ["BY_LABELS", "Survey"]

BY_LABELS = "the largest values are the labels"
"""The reason of what labels have decided."""

_Decision = tuple[OutputKind, int | None, str]

_ROWS = 4096
_CELLS = 32 << 20
"""Rows, and numbers in them, that evidence of winners is looked for in, evenly from all batches."""
_SUM = 1e-3
_LENGTH = 1e-3
"""How much sums may differ from 1, and lengths from each other, as shares."""
_LENGTHS = 8
"""Vectors from which on equal lengths are no accident. Fewer must have the length 1."""
_NARROWEST_EMBEDDING = 3
_MOST_CHANNELS = 65536
_CHEAP = 1 << 20
"""Numbers in a batch of probabilities up to which their variances are worth measuring too."""


class Survey:
    """Gathers what is needed to say what each output means.

    In this order, an output is

    1. what the user says;
    2. exact, if it holds integers, booleans or strings;
    3. probabilities, if no value is below 0 and every row adds up to 1;
    4. scores, if it has one row a sample and its largest values are the labels more often than by chance;
    5. scores, if every row is the logarithm of probabilities;
    6. an embedding, if all rows have the same length and more than two values;
    7. scores, if its rows have winners (`evidence_of_winners`, or on drawn samples `decide_differently`);
    8. values.

    Rows lie along the last axis or, where an output has two axes or more besides its batch axis, along the first of
    these.

    Parameters
    ----------
    batches
        How many there will be.
    given
        Kinds that the user says, by output.
    drawn
        Whether the samples are drawn. A network is less sure of these, so that less evidence makes scores.
    batch_axes
        The axis that counts samples, of outputs where it isn't the first.
    """

    def __init__(
        self,
        batches: int,
        given: Mapping[str, OutputKind] | None = None,
        *,
        drawn: bool = False,
        batch_axes: Mapping[str, int] | None = None,
    ) -> None:
        self._batches = max(batches, 1)
        self._drawn = drawn
        self._given = given or {}
        self._batch_axes = batch_axes or {}
        self._outputs: dict[str, _Output] = {}
        self._labels: list[NDArray[np.integer]] = []

    def add(self, outputs: Outputs, samples: int, labels: NDArray[np.integer] | None = None) -> None:
        """The outputs of one more batch of `samples`, with its labels where there are any."""
        if labels is not None:
            self._labels.append(labels)
        for name, output in outputs.items():
            if isinstance(output, np.ndarray) and output.size:
                if name not in self._outputs:
                    axis = self._batch_axes.get(name, 0)
                    self._outputs[name] = _Output(self._batches, drawn=self._drawn, batch_axis=axis)
                self._outputs[name].add(output, samples)

    def meanings(self) -> dict[str, OutputMeaning]:
        """What each output means, in the model's order. Outputs that were always empty are left out."""
        labels = np.concatenate(self._labels) if self._labels else None
        return {name: output.meaning(labels, self._given.get(name)) for name, output in self._outputs.items()}


class _Output:
    """One output of all batches."""

    def __init__(self, batches: int, *, drawn: bool, batch_axis: int) -> None:
        self._batches = batches
        self._batch_axis = batch_axis
        self._drawn = drawn
        self._floats = True
        self._shape: tuple[int, ...] | None = None
        self._counts_samples = True
        self._sides: dict[int, _Side] = {}
        self._moments: dict[int | None, ChannelMoments] = {}

    def add(self, output: NDArray[Any], samples: int) -> None:
        self._counts_samples &= output.ndim > self._batch_axis and output.shape[self._batch_axis] == samples
        self._floats &= output.dtype.kind == "f"
        if not self._floats:
            return
        if self._shape is None:
            self._shape = output.shape
            self._sides = {
                axis: _Side(axis, output.shape[axis], self._batches, self._batch_axis) for axis in self._class_axes()
            }
        self._forget_uneven(output.shape)
        for side in self._sides.values():
            side.add(output)
        if output.size <= _CHEAP or not any(side.adds_up for side in self._sides.values()):
            self._add_moments(output)

    def meaning(self, labels: NDArray[np.integer] | None, given: OutputKind | None) -> OutputMeaning:
        if not self._floats:
            kept: OutputKind = "ignored" if given == "ignored" else "exact"
            return OutputMeaning(kind=kept, batch_axis=self._known_batch_axis, reason="not floats")
        kind, axis, reason = self._decided(labels) if given is None else self._as_given(given)
        side = None if axis is None else self._sides.get(axis)
        moments = self._moments.get(axis)
        return OutputMeaning(
            kind=kind,
            axis=axis,
            scales=np.ones(1) if moments is None else scales(moments),
            width=0 if axis is None or self._shape is None else self._shape[axis],
            batch_axis=self._known_batch_axis,
            positions=self._has_positions(axis),
            blank=side.blank if side is not None and kind in ("scores", "probabilities") else None,
            reason=reason,
        )

    @property
    def _known_batch_axis(self) -> int | None:
        return self._batch_axis if self._counts_samples else None

    def _other_axes(self) -> list[int]:
        """All but the batch axis."""
        return [axis for axis in range(len(self._shape or ())) if axis != self._batch_axis]

    def _class_axes(self) -> list[int]:
        """Of the axes besides the batch axis the last one, and the first of several; classes need two columns."""
        shape, others = self._shape or (), self._other_axes()
        axes = others if len(others) < 2 else [others[-1], others[0]]
        return [axis for axis in axes if shape[axis] > 1]

    def _forget_uneven(self, shape: tuple[int, ...]) -> None:
        """Axes whose size changes from batch to batch have no classes or channels."""
        if self._shape is None or len(shape) != len(self._shape):
            self._sides = {}
            self._moments = {axis: found for axis, found in self._moments.items() if axis is None}
            self._shape = shape if self._shape is None else (0,) * len(shape)
            return
        uneven = {axis for axis in range(len(shape)) if shape[axis] != self._shape[axis]}
        self._shape = tuple(0 if axis in uneven else size for axis, size in enumerate(shape))
        self._sides = {axis: side for axis, side in self._sides.items() if axis not in uneven}
        self._moments = {axis: found for axis, found in self._moments.items() if axis not in uneven}

    def _add_moments(self, output: NDArray[Any]) -> None:
        first = not self._moments
        axes = [axis for axis in self._other_axes() if 1 < output.shape[axis] <= _MOST_CHANNELS]
        for axis in (None, *axes):
            if first or axis in self._moments:
                found = ChannelMoments.of(rows_along(output, axis))
                self._moments[axis] = found if first else self._moments[axis] + found

    def _as_given(self, kind: OutputKind) -> _Decision:
        said = "as --output-kind says"
        if kind in ("ignored", "exact"):
            return kind, None, said
        if kind == "values":
            return kind, self._channels(), said
        if not self._sides:
            return "values", None, f"no axis that {kind} could lie along"
        if kind == "embedding":
            return kind, next(iter(self._sides)), said
        sums = next((axis for axis, side in self._sides.items() if side.adds_up), None)
        return kind, self._class_axis()[0] if sums is None else sums, said

    def _decided(self, labels: NDArray[np.integer] | None) -> _Decision:
        unsure = "neither classes nor directions were recognised; --output-kind NAME=KIND overrides"
        values: _Decision = ("values", self._channels(), unsure)
        return next(itertools.chain(self._exact_signs(labels), self._likely_signs()), values)

    def _exact_signs(self, labels: NDArray[np.integer] | None) -> Iterator[_Decision]:
        """What holds of all rows, or what labels say."""
        for axis, side in self._sides.items():
            if side.adds_up:
                yield "probabilities", axis, "rows add up to 1"
        for axis, side in self._sides.items():
            if labels is not None and self._has_rows(axis) and side.agrees_with(labels):
                yield "scores", axis, BY_LABELS
        for axis, side in self._sides.items():
            if side.log_adds_up:
                yield "scores", axis, "rows are logarithms of probabilities"
        for axis, side in self._sides.items():
            if side.one_length:
                yield "embedding", axis, "all rows have one length"

    def _likely_signs(self) -> Iterator[_Decision]:
        """What most rows show."""
        likely, evidence = self._class_axis()
        if evidence > 0:
            yield "scores", likely, "each row has a winner"
        for axis, side in self._sides.items():
            if self._drawn and self._has_rows(axis) and decide_differently(side.finite_rows):
                yield "scores", axis, "drawn samples get different answers"

    def _has_rows(self, axis: int) -> bool:
        """Whether there is one row a sample."""
        return self._counts_samples and not self._has_positions(axis)

    def _class_axis(self) -> tuple[int | None, float]:
        """Of the axes that classes may lie along, the one whose rows have the plainest winners, and how plain."""
        found = {axis: evidence_of_winners(side.finite_rows) for axis, side in self._sides.items()}
        return max(found.items(), key=lambda item: item[1], default=(None, 0.0))

    def _channels(self) -> int | None:
        """A table has columns. Of more axes the data say which one has the channels, if any has."""
        others = self._other_axes()
        columns = self._moments.get(others[0]) if len(others) == 1 else None
        if columns is not None:
            return others[0] if columns.counts.max() > 1 else None  # one sample doesn't vary
        return channel_axis(self._moments) if self._moments else None

    def _has_positions(self, axis: int | None) -> bool:
        shape = self._shape or ()
        return any(size != 1 for place, size in enumerate(shape) if place not in (self._batch_axis, axis))


class _Side:
    """An output seen as rows along one axis."""

    def __init__(self, axis: int, width: int, batches: int, batch_axis: int) -> None:
        self._axis = axis
        self._batch_axis = batch_axis
        self._most = max(min(_ROWS, _CELLS // width) // batches, 1)
        self._places: list[NDArray[np.int64]] = []
        self._parts: list[NDArray[np.float64]] = []
        self._blank = BlankEvidence(width)
        self._sequences = True
        self._lengths = (np.inf, -np.inf)
        self._seen = 0
        self.adds_up = True
        self.log_adds_up = True

    def add(self, output: NDArray[Any]) -> None:
        rows = rows_along(output, self._axis)
        some = np.arange(len(rows)) if len(rows) <= self._most else np.arange(self._most) * len(rows) // self._most
        self._parts.append(rows[some].astype(np.float64))
        self._places.append(self._seen + some)
        self._seen += len(rows)
        if self.adds_up:
            self.adds_up = float(rows.min()) >= 0 and _add_up(rows.sum(axis=-1, dtype=np.float64))
        if self.log_adds_up:
            self.log_adds_up = float(rows.max()) <= _SUM and _add_up(np.exp(rows.astype(np.float64)).sum(axis=-1))
        lengths = np.linalg.norm(self._parts[-1], axis=-1)
        self._lengths = min(self._lengths[0], float(lengths.min())), max(self._lengths[1], float(lengths.max()))
        self._sequences &= output.ndim == 3 and self._axis == 2
        if self._sequences:
            self._blank.add(winning_classes(output, self._batch_axis))

    def agrees_with(self, labels: NDArray[np.integer]) -> bool:
        """Whether the largest value of a row is its label, far more often than by chance; for one row a sample."""
        places = np.concatenate(self._places)
        return len(labels) == self._seen and agree_with_labels(np.concatenate(self._parts), labels[places])

    @property
    def finite_rows(self) -> NDArray[np.float64]:
        """(rows, columns) evenly from all batches, without the columns that aren't always finite."""
        rows = np.concatenate(self._parts)
        return rows[:, np.isfinite(rows).all(axis=0)]

    @property
    def blank(self) -> int | None:
        """The class that CTC decoding drops; None where the output isn't read that way."""
        return self._blank.blank if self._sequences else None

    @property
    def one_length(self) -> bool:
        """Whether all rows are as long as each other, and that is no accident."""
        low, high = self._lengths
        if self._parts[0].shape[1] < _NARROWEST_EMBEDDING or not np.isfinite(high) or low <= 0:
            return False
        wanted = 1.0 if self._seen < _LENGTHS else (low + high) / 2
        return abs(low - wanted) <= _LENGTH * wanted and abs(high - wanted) <= _LENGTH * wanted


def _add_up(sums: NDArray[np.float64]) -> bool:
    return bool(np.allclose(sums, 1, atol=_SUM))

"""What a model's outputs are: decided once, from the dense model's outputs over many samples.

Everything that compares outputs is told the kinds: the losses of search and refit, finetuning, and every judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs.evidence import agree_with_labels, have_winners

__all__ = ["CLASSES", "OutputKind", "OutputKinds", "Outputs", "class_output", "decide_kinds", "spread_outputs"]

OutputKind: TypeAlias = Literal["scores", "probabilities", "embedding", "values"]
"""``scores``: logits of classes along the last axis. ``probabilities``: the same, adding up to 1.
``embedding``: vectors along the last axis of which only the direction counts. ``values``: everything else."""
OutputKinds: TypeAlias = Mapping[str, OutputKind]
"""The kind of each output that can be compared: floats, and not empty."""
Outputs: TypeAlias = Mapping[str, NDArray[Any]]

CLASSES: tuple[OutputKind, ...] = ("scores", "probabilities")
_SAMPLES = 1024
_BYTES = 256 << 20
"""What kinds are decided from, at most."""
_SUM = 1e-3
_LENGTH = 1e-3
"""How much sums may differ from 1, and lengths from each other, as shares."""
_LENGTHS = 8
"""Vectors from which on equal lengths are no accident. Fewer must have the length 1."""
_NARROWEST_EMBEDDING = 3


def decide_kinds(outputs: Sequence[Outputs], labels: NDArray[Any] | None = None) -> OutputKinds:
    """Say what each output is.

    In this order, an output is

    1. probabilities, if no value is below 0 and every row adds up to 1;
    2. scores, if it has one row a sample and its largest values are the labels more often than by chance;
    3. scores, if every row is the logarithm of probabilities;
    4. an embedding, if all rows have the same length and more than two values;
    5. scores, if it has one row a sample and its rows have winners (`have_winners`);
    6. values.

    Rows lie along the last axis. Rule 5 needs 16 samples or more, and is the surer the more there are.

    Parameters
    ----------
    outputs
        The dense model's outputs of several batches, from all over the data.
    labels
        (samples,) whole numbers, where there are any, in the order of the outputs.
    """
    kinds: dict[str, OutputKind] = {}
    for name in outputs[0]:
        parts = [batch[name] for batch in outputs if isinstance(batch[name], np.ndarray) and batch[name].size]
        if parts and parts[0].dtype.kind == "f":
            kinds[name] = _kind(parts, labels)
    return kinds


def class_output(kinds: OutputKinds, outputs: Outputs, samples: int | None = None) -> str | None:
    """The output whose answers are counted: the first with a row of classes a sample, else the first with classes.

    Parameters
    ----------
    samples
        How many samples `outputs` has, where that is known.
    """
    names = [name for name in outputs if kinds.get(name) in CLASSES]
    rows = (name for name in names if outputs[name].ndim == 2 and samples in (None, len(outputs[name])))
    return next(rows, next(iter(names), None))


def spread_outputs(batches: int, batch_size: int, run: Callable[[int], Outputs]) -> dict[int, Outputs]:
    """The outputs of some batches, evenly from all over the data: up to 1,024 samples, or 256 MiB.

    Parameters
    ----------
    batches, batch_size
        How many there are, and samples in each.
    run
        Gives the outputs of one, by its place.
    """
    first = run(0)
    size = sum(output.nbytes for output in first.values() if isinstance(output, np.ndarray))
    count = max(1, min(batches, _SAMPLES // batch_size, _BYTES // max(size, 1)))
    places = [place * batches // count for place in range(count)]
    return {place: run(place) if place else first for place in places}


def _kind(parts: Sequence[NDArray[Any]], labels: NDArray[Any] | None) -> OutputKind:
    if any(part.ndim < 2 or part.shape[-1] < 2 for part in parts):
        return "values"
    if all(float(part.min()) >= 0 and _add_up(part.sum(axis=-1, dtype=np.float64)) for part in parts):
        return "probabilities"
    rows = _matrix(parts)
    if rows is not None and labels is not None and agree_with_labels(rows, labels):
        return "scores"
    if all(_are_log_probabilities(part) for part in parts):
        return "scores"
    if _have_one_length(parts):
        return "embedding"
    return "scores" if rows is not None and have_winners(rows) else "values"


def _matrix(parts: Sequence[NDArray[Any]]) -> NDArray[np.float64] | None:
    """(samples, columns), where every batch has that form; without the columns that aren't always finite."""
    if any(part.ndim != 2 for part in parts) or len({part.shape[1] for part in parts}) > 1:
        return None
    rows = np.concatenate(parts).astype(np.float64)
    return rows[:, np.isfinite(rows).all(axis=0)]


def _add_up(sums: NDArray[np.float64]) -> bool:
    return bool(np.allclose(sums, 1, atol=_SUM))


def _are_log_probabilities(part: NDArray[Any]) -> bool:
    return float(part.max()) <= _SUM and _add_up(np.exp(part.astype(np.float64)).sum(axis=-1))


def _have_one_length(parts: Sequence[NDArray[Any]]) -> bool:
    if any(part.shape[-1] < _NARROWEST_EMBEDDING for part in parts):
        return False
    lengths = np.concatenate([np.linalg.norm(part.astype(np.float64), axis=-1).reshape(-1) for part in parts])
    if not np.isfinite(lengths).all() or not lengths.all():
        return False
    wanted = 1.0 if len(lengths) < _LENGTHS else float(np.median(lengths))
    return bool(np.allclose(lengths, wanted, rtol=_LENGTH, atol=0))

"""A candidate against its reference, both in ONNX Runtime, on data or on random inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset, InputSpec, with_shapes
from domino_onnx.errors import DataError, ModelError
from domino_onnx.evaluate.metric import Answers, Metric
from domino_onnx.options import Device
from domino_onnx.outputs import (
    BY_LABELS,
    Comparison,
    Meanings,
    OutputKind,
    OutputMeaning,
    Survey,
    Tally,
    require_outputs,
)
from domino_onnx.runtime import ChildSession

__all__ = ["Evaluation", "evaluate_models", "meanings_on", "random_inputs", "top1", "try_metric"]

_MAX_RANDOM_ELEMENTS = 1 << 26
_MAX_SECONDS = 25.0
_LABELLED = 1024
"""Samples that tell whether the labels fit the model."""
_TRIED = 512
"""Samples that a metric is tried on."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A comparison, where it ran, and on what: "data"; "drawn" or "random" inputs say little of accuracy.

    `warnings` are those of a comparison by itself; what is a part of a run leaves them to the run.
    """

    comparison: Comparison
    provider: str
    inputs: str
    warnings: tuple[str, ...] = ()


def evaluate_models(
    reference: Path,
    candidate: Path,
    data: Dataset | None,
    *,
    specs: list[InputSpec],
    shapes: dict[str, tuple[int, ...]] | None = None,
    device: Device = "cpu",
    threads: int = 0,
    batch_size: int = 32,
    seed: int = 0,
    meanings: Meanings | None = None,
    given: Mapping[str, OutputKind] | None = None,
    metric: Metric | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run both models on the same inputs, in child processes, and compare their outputs.

    Parameters
    ----------
    data
        Without, one run on random inputs of `specs` shows that both run and how far they differ.
    meanings
        What the outputs mean. Without, they are decided from the reference's outputs on all samples.
    given
        Kinds of outputs that the user says.
    metric
        The user's own; it is asked where there are data.
    progress
        Called after each batch with the number of samples that are done.

    Raises
    ------
    ModelError
        If a model can't be run, or the two have different inputs or outputs.
    MetricError
        If the user's metric fails.
    DataError
        If `given` names no output.
    """
    if data is None:
        inputs = random_inputs(specs, shapes or {}, seed)
        return _on_random_inputs(reference, candidate, inputs, device, threads, meanings)
    with (
        ChildSession(reference, device=device, threads=threads) as first,
        ChildSession(candidate, device=device, threads=threads) as second,
    ):
        _require_same_inputs(first, second)
        _require_same_outputs(first, second)
        if meanings is None:
            meanings = meanings_on(first, data, batch_size, given)
        tally, answers, done = Tally(meanings), Answers(data.batching.outputs), 0
        runs = data.runs(batch_size) if metric is None else _runs_in_order(data, batch_size)
        for samples in runs:
            inputs = data.take(samples)
            expected, got = first.run(inputs), second.run(inputs)
            tally.add(expected, got, len(samples), _some(data.labels, samples))
            if metric is not None:
                answers.add(expected, got, len(samples), _some(data.truth, samples))
            done += len(samples)
            if progress is not None:
                progress(done)
    if not tally.comparable and metric is None:
        raise ModelError("no output can be compared: the two models give different shapes, or no tensors at all")
    custom = None if metric is None else answers.scores(metric)
    return Evaluation(comparison=tally.result(custom), provider=second.provider, inputs="data")


def meanings_on(
    session: ChildSession,
    data: Dataset,
    batch_size: int,
    given: Mapping[str, OutputKind] | None = None,
    *,
    drawn: bool = False,
    labelled: Dataset | None = None,
) -> dict[str, OutputMeaning]:
    """What a model's outputs mean, by its outputs on all samples, real or drawn, and their labels.

    Parameters
    ----------
    labelled
        Other samples. Where `data` have no labels and show no classes, the labels of these may.

    Raises
    ------
    ModelError
        If the model can't be run.
    DataError
        If `given` names no output.
    """
    require_outputs(given or (), session.output_names)
    chosen = data.runs(batch_size)
    survey = Survey(len(chosen), given, drawn=drawn, batch_axes=data.batching.outputs)
    for samples in chosen:
        survey.add(session.run(data.take(samples)), len(samples), _some(data.labels, samples))
    found = survey.meanings()
    unsure = {name for name, meaning in found.items() if meaning.kind in ("values", "embedding")}
    if not unsure or data.labels is not None or labelled is None or labelled.labels is None:
        return found
    told = meanings_on(session, labelled, batch_size, given)
    return found | {name: told[name] for name in unsure & told.keys() if told[name].reason == BY_LABELS}


def top1(session: ChildSession, data: Dataset, batch_size: int, meanings: Meanings) -> float | None:
    """Share of labelled samples, up to 1,024 of them, that a model classifies as they say; None if it tells no classes.

    Raises
    ------
    ModelError
        If the model can't be run.
    DataError
        If a label is no class of the model's.
    """
    chosen = data.runs(batch_size)
    count = max(min(len(chosen), _LABELLED // len(chosen[0])), 1)
    tally = Tally(meanings)
    for place in range(count):
        samples = chosen[place * len(chosen) // count]
        outputs = session.run(data.take(samples))
        tally.add(outputs, outputs, len(samples), _some(data.labels, samples))
    return tally.result().top1_reference


def try_metric(session: ChildSession, data: Dataset, batch_size: int, metric: Metric) -> None:
    """Ask a user's metric for the value of the dense model, so that its mistakes show before any work.

    Raises
    ------
    ModelError
        If the model can't be run.
    MetricError
        If the metric fails.
    """
    data, answers = data.evenly(_TRIED), Answers(data.batching.outputs)
    for samples in _runs_in_order(data, batch_size):
        outputs = session.run(data.take(samples))
        answers.add(outputs, outputs, len(samples), _some(data.truth, samples))
    answers.scores(metric)


def _runs_in_order(data: Dataset, batch_size: int) -> list[NDArray[np.int64]]:
    """Runs with all samples in their order, which a metric may count on: one by one where they have several shapes."""
    return data.runs(batch_size if data.sizes is None else 1)


def _some(labels: NDArray[Any] | None, samples: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if labels is None else labels[samples]


def random_inputs(
    specs: list[InputSpec], shapes: dict[str, tuple[int, ...]], seed: int, *, integers: int = 1, free: int = 1
) -> dict[str, NDArray[Any]]:
    """Normal values; integers and booleans are drawn from 0 to below `integers`, free axes have the size `free`.

    An axis has the size that `shapes` give to its name in another input.

    Raises
    ------
    DataError
        If an input's rank isn't known, or it is absurdly large.
    """
    generator = np.random.default_rng(seed)
    inputs = {}
    for spec in with_shapes(specs, shapes):
        if spec.shape is None:
            raise DataError(f"the shape of input {spec.name!r} is unknown: give --data")
        shape = tuple(free if size is None else size for size in spec.shape)
        if np.prod(shape, dtype=np.float64) > _MAX_RANDOM_ELEMENTS:
            raise DataError(f"input {spec.name!r} of shape {shape} is too large to make up; give --data")
        if spec.dtype.kind == "f" or spec.dtype.name == "bfloat16":
            inputs[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        else:
            inputs[spec.name] = generator.integers(0, integers, shape).astype(spec.dtype)
    return inputs


def _on_random_inputs(
    reference: Path,
    candidate: Path,
    inputs: dict[str, NDArray[Any]],
    device: Device,
    threads: int,
    meanings: Meanings | None,
) -> Evaluation:
    """One model after the other, so that only one is in memory."""
    expected, _ = _run_once(reference, inputs, device, threads)
    got, provider = _run_once(candidate, inputs, device, threads)
    if expected.keys() != got.keys():
        raise ModelError(f"{reference} has the outputs {list(expected)}, {candidate} has {list(got)}")
    if meanings is None:
        survey = Survey(1)
        survey.add(expected, 1)
        meanings = survey.meanings()
    tally = Tally(meanings)
    tally.add(expected, got, 1)
    return Evaluation(comparison=tally.result(), provider=provider, inputs="random")


def _run_once(
    model: Path, inputs: dict[str, NDArray[Any]], device: Device, threads: int
) -> tuple[dict[str, NDArray[Any]], str]:
    with ChildSession(model, device=device, threads=threads, lean=True) as session:
        return session.run(inputs, seconds=_MAX_SECONDS), session.provider


def _require_same_inputs(reference: ChildSession, candidate: ChildSession) -> None:
    if reference.inputs.keys() != candidate.inputs.keys():
        raise ModelError(
            f"the models have different inputs: {', '.join(reference.inputs)} and {', '.join(candidate.inputs)}"
        )


def _require_same_outputs(reference: ChildSession, candidate: ChildSession) -> None:
    if reference.output_names != candidate.output_names:
        raise ModelError(
            f"the models have different outputs: {', '.join(reference.output_names)} and "
            f"{', '.join(candidate.output_names)}"
        )

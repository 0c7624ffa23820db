"""What can be said of a file without changing it: `inspect`, `doctor`, `verify` and `evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.deployment.operators import is_deployed
from domino_onnx.errors import DataError, ModelError
from domino_onnx.graph import OnnxFile, model_inputs, read_manifest, read_model
from domino_onnx.options import CompressOptions, RunOptions
from domino_onnx.plurals import quantity
from domino_onnx.report.results import DoctorResult, InspectResult
from domino_onnx.stages.devices import torch_missing
from domino_onnx.stages.forecasting.outlook import SAMPLES, operator_shares, outlook, ports
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.reading.doubts import doubts_of_labels, doubts_of_samples
from domino_onnx.stages.reading.purpose import require_suited
from domino_onnx.stages.reading.read import load_chosen_metric, load_samples
from domino_onnx.stages.reading.source import Source, open_source
from domino_onnx.targets import GROUPS_OF_FOUR, BuildLog, diagnose, read_build_log

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness
    from domino_onnx.evaluate import Evaluation, Metric, Verdict

__all__ = ["diagnosed", "evaluated", "inspected", "verified"]


def inspected(source: Source, run: RunOptions, *, bridge: bool) -> InspectResult:
    """The inventory, and with `bridge` whether the model can be finetuned.

    Raises
    ------
    DependencyError
        If `bridge` is wanted and torch is missing.
    """
    proto = source.file.proto
    return InspectResult(
        file=source.file,
        inventory=source.inventory,
        manifest=read_manifest(proto),
        is_deployed=is_deployed(proto),
        inputs=ports(model_inputs(proto)),
        outputs=ports(proto.graph.output),
        shares=operator_shares(source.file, source.inventory),
        forecast=outlook(source),
        forecast_samples=SAMPLES,
        bridge=_readiness(source, run) if bridge else None,
    )


def diagnosed(model: Path, log: Path | None) -> DoctorResult:
    """Whether TensorRT's sparse kernels can and will run each weight.

    Raises
    ------
    ModelError
        If the model can't be read, or was deployed.
    DataError
        If the log can't be read.
    """
    file = read_model(model)
    require_suited(file, "judge")
    source = open_source(file, pool=GROUPS_OF_FOUR, infers=False)
    return DoctorResult(
        model=model,
        diagnoses=tuple(diagnose(site, source.load(site.key)) for site in source.inventory.sites),
        skips=tuple(skip for skip in source.inventory.skips if skip.counted),
        log=None if log is None else _build_log(log),
    )


def verified(model: Path) -> Verdict:
    """Whether a file holds what its manifest says.

    Raises
    ------
    ModelError
        If it can't be read.
    CheckFailed
        If its manifest can't be read.
    """
    from domino_onnx.evaluate import verify_file

    return verify_file(read_model(model))


def evaluated(
    reference: Path,
    candidate: Path,
    data: Path,
    options: CompressOptions,
    journal: Journal,
    metric: Metric | None = None,
) -> Evaluation:
    """Compare two models with the same inputs and outputs.

    Raises
    ------
    ModelError
        If a model can't be read or run, or they take other inputs.
    DataError
        If the data don't fit the reference.
    MetricError
        If the user's metric can't be loaded, or fails.
    """
    from domino_onnx.data import input_specs
    from domino_onnx.evaluate import evaluate_models

    run, metric = options.run, metric or load_chosen_metric(options)
    file = read_model(reference)
    _require_same_inputs(file, read_model(candidate))
    samples = load_samples(data, file, options, metric)
    for doubt in doubts_of_samples(samples):
        journal.warn(doubt)
    with journal.stage("evaluate"):
        evaluation = evaluate_models(
            reference,
            candidate,
            samples,
            specs=input_specs(file.proto),
            device=run.device,
            threads=run.threads,
            batch_size=run.batch_size,
            given=options.data.output_kinds,
            metric=metric,
            progress=lambda done: journal.progress(
                done, samples.count, f"{done:,} of {quantity(samples.count, 'sample')}"
            ),
        )
    if samples.labels is not None and metric is None:
        for doubt in doubts_of_labels(samples.labels, evaluation.comparison.top1_reference):
            journal.warn(doubt)
    return dataclasses.replace(evaluation, warnings=journal.warnings)


def _require_same_inputs(reference: OnnxFile, candidate: OnnxFile) -> None:
    """Refuse models that can't have the same samples, by what they declare."""
    from domino_onnx.data import input_specs

    specs, others = ({spec.name: spec for spec in input_specs(file.proto)} for file in (reference, candidate))
    if specs.keys() != others.keys() or not all(specs[name].may_equal(others[name]) for name in specs):
        told = ("; ".join(map(str, each.values())) or "none" for each in (specs, others))
        raise ModelError("{} and {} take other inputs, {} and {}".format(reference.path, candidate.path, *told))


def _build_log(path: Path) -> BuildLog:
    try:
        return read_build_log(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise DataError(f"can't read the log {path}: {error.strerror or error}") from None


def _readiness(source: Source, run: RunOptions) -> Readiness:
    try:
        from domino_onnx.bridge import check_readiness
    except ImportError as error:
        raise torch_missing(error) from None
    keys = [site.key for site in source.inventory.sites]
    samples = None if source.split is None else source.split.fit
    return check_readiness(source.file, keys, samples, shapes=source.shapes, seed=run.seed, threads=run.threads)

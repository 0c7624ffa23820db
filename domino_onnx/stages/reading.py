"""The first stage: the model and its data are read and checked before any work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.graph import OnnxFile, Selection, read_model
from domino_onnx.options import CompressOptions
from domino_onnx.precision import Conversion, check_conversion
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.source import Source, open_source

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Split

__all__ = ["conversion", "load_samples", "read"]


def read(
    model: Path, options: CompressOptions, journal: Journal, *, apart: bool = False, trains: bool = False
) -> Source:
    """Read the model and the data, and take the inventory.

    Parameters
    ----------
    apart
        Keep a part of the data from everything but the judge. `--max-drop` and `sweep` judge on it.
    trains
        Whether finetuning follows, which holds samples out.

    Raises
    ------
    ModelError
        If the model can't be read, or not be written as the options ask for.
    DataError
        If the data don't fit the model.
    DependencyError
        If the options ask for a device or a package that is missing.
    """
    with journal.stage("read"):
        file = read_model(model)
        check_conversion(file, conversion(options))
        if options.run.device == "cuda":
            _require_cuda()
        split = _split(file, options, apart=apart, trains=trains)
        evaluation = _evaluation(file, options) if split is None else None
        source = open_source(
            file,
            pool=options.pool,
            selection=Selection(include=options.target.include, exclude=options.target.exclude),
            input_shapes=options.data.input_shapes,
            samples=evaluation if split is None else split.fit,
            seed=options.run.seed,
        )
    for note in source.inventory.notes:
        journal.warn(note)
    if split is None:
        return dataclasses.replace(source, judge=evaluation)
    return dataclasses.replace(source, split=split, judge=split.judge, judge_seen=split.judge_seen)


def conversion(options: CompressOptions) -> Conversion:
    """What the file is converted to when it is written."""
    return Conversion(precision=options.output.precision, weights=options.output.weights)


def load_samples(path: Path, file: OnnxFile) -> Dataset:
    """Read data for a model."""
    from domino_onnx.data import load_data

    return load_data(path, file.proto)


def _split(file: OnnxFile, options: CompressOptions, *, apart: bool, trains: bool) -> Split | None:
    if options.data.calibration is None:
        return None
    from domino_onnx.data import Split

    return Split.of(
        load_samples(options.data.calibration, file),
        evaluation=_evaluation(file, options),
        apart=apart,
        trains=trains,
        seed=options.run.seed,
    )


def _evaluation(file: OnnxFile, options: CompressOptions) -> Dataset | None:
    path = options.data.evaluation
    return None if path is None else load_samples(path, file)


def _require_cuda() -> None:
    from domino_onnx.runtime import require_cuda

    require_cuda()

"""The samples that a model is timed and calibrated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from domino_onnx.graph import OnnxFile, check_input_shapes
from domino_onnx.options import CompressOptions
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["RunToTime", "run_to_time", "samples_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunToTime:
    """What a model is run on to be timed.

    Attributes
    ----------
    inputs
        By name, as the model takes them.
    samples
        How many they are.
    """

    inputs: Mapping[str, NDArray[Any]]
    samples: int


def samples_of(file: OnnxFile, options: CompressOptions) -> Dataset | None:
    """The data that the options name, whatever their labels are; None without any.

    Raises
    ------
    DataError
        If they don't fit the model.
    """
    from domino_onnx.data import load_data

    path = options.data.path
    return None if path is None else load_data(path, file.proto, options.data.batch_axes, any_labels=True)


def run_to_time(file: OnnxFile, options: CompressOptions, journal: Journal, *, batch: int = 1) -> RunToTime:
    """Samples of the data, of one shape; random ones without data, of which there are `batch` where the axis is free.

    Raises
    ------
    DataError
        If the data don't fit the model, or an input can't be made up.
    """
    from domino_onnx.data import batching_of, input_specs, with_shapes
    from domino_onnx.evaluate import random_inputs

    data, specs = samples_of(file, options), input_specs(file.proto)
    check_input_shapes(file.proto, options.data.input_shapes)
    if data is not None:
        some = data.some(batch)
        return RunToTime(inputs=data.take(some), samples=len(some))
    batching, shapes = batching_of(file.proto, specs, options.data.batch_axes), dict(options.data.input_shapes)
    for spec in with_shapes(specs, shapes):
        if spec.name in shapes or spec.shape is None:
            continue
        counts = batching.axis(spec.name)
        if any(size is None and axis != counts for axis, size in enumerate(spec.shape)):
            journal.warn(
                f"input {spec.name!r} has free axes that count no samples, which are taken to be 1: give "
                f"--input-shape {spec.name}:SIZES or --data"
            )
        shapes[spec.name] = tuple(size or (batch if axis == counts else 1) for axis, size in enumerate(spec.shape))
    inputs = random_inputs(specs, shapes, options.run.seed)
    return RunToTime(inputs=inputs, samples=batching.count({name: each.shape for name, each in inputs.items()}))

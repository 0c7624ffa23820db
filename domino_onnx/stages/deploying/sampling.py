"""The samples that a model is timed and calibrated on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from domino_onnx.graph import OnnxFile, check_input_shapes
from domino_onnx.options import CompressOptions
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["inputs_to_time", "samples_of"]


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


def inputs_to_time(
    file: OnnxFile, options: CompressOptions, journal: Journal, *, batch: int = 1
) -> Mapping[str, NDArray[Any]]:
    """Samples of the data, of one shape; random ones without data, in which a free first axis is the batch.

    Raises
    ------
    DataError
        If the data don't fit the model, or an input can't be made up.
    """
    from domino_onnx.data import input_specs
    from domino_onnx.evaluate import random_inputs

    data, specs = samples_of(file, options), input_specs(file.proto)
    check_input_shapes(file.proto, options.data.input_shapes)
    if data is not None:
        if options.data.input_shapes:
            journal.warn("--input-shape has no effect with --data, which has shapes of its own")
        return data.take(data.some(batch))
    shapes = dict(options.data.input_shapes)
    for spec in specs:
        if spec.name in shapes or spec.shape is None:
            continue
        if None in spec.shape[1:]:
            journal.warn(
                f"input {spec.name!r} has free axes besides the first, which are taken to be 1: give --input-shape "
                f"{spec.name}:SIZES or --data"
            )
        shapes[spec.name] = tuple(size or (batch if axis == 0 else 1) for axis, size in enumerate(spec.shape))
    return random_inputs(specs, shapes, options.run.seed)

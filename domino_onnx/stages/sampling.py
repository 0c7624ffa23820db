"""One set of inputs to time a model with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from domino_onnx.graph import OnnxFile
from domino_onnx.options import CompressOptions
from domino_onnx.stages.journal import Journal

__all__ = ["inputs_to_time"]


def inputs_to_time(
    file: OnnxFile, options: CompressOptions, journal: Journal, *, batch: int = 1
) -> Mapping[str, NDArray[Any]]:
    """Samples of the data, of one shape; random ones without data, in which a free first axis is the batch.

    Raises
    ------
    DataError
        If the data don't fit the model, or an input can't be made up.
    """
    from domino_onnx.data import input_specs, load_data
    from domino_onnx.evaluate import random_inputs

    if options.data.path is not None:
        data = load_data(options.data.path, file.proto, any_labels=True)
        return data.take(data.some(batch))
    specs = input_specs(file.proto)
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

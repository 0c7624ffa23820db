"""The shapes of a model's tensors: inferred, and seen in a run where inference stops."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.graph import OnnxFile, ShapeTable, infer_shapes

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["note_of_shapes", "shapes_seen"]

_log = logging.getLogger(__name__)


def shapes_seen(
    file: OnnxFile, known: Mapping[str, tuple[int, ...]], data: Dataset | None, *, seed: int = 0
) -> ShapeTable:
    """Inferred shapes, and those that only a run can tell, where the MACs of a weight hang on them.

    Parameters
    ----------
    known
        Shapes of inputs, by name; without any, the model isn't run.
    data
        What it is run on; without, random inputs of the known shapes. If it can't be run, inference has the last word.
    seed
        Of the random inputs.
    """
    table = infer_shapes(file.proto, known)
    if not known:
        return table
    try:
        from domino_onnx.data import input_specs
        from domino_onnx.evaluate import random_inputs
        from domino_onnx.runtime import observe_shapes

        if data is not None:
            inputs = data.take(data.some(1))
        else:
            inputs = random_inputs(input_specs(file.proto), dict(known), seed)
        return observe_shapes(file, table, inputs)
    except (DataError, DependencyError, ModelError) as error:
        _log.info("shapes stay as inference found them: %s", error)
        return table


def note_of_shapes(data: Dataset) -> str | None:
    """What to tell of samples that have several shapes; None where all have one."""
    if data.sizes is None:
        return None
    count = len(np.unique(data.sizes, axis=0))
    least, most = (_shapes_in_words(data, samples) for samples in data.extremes(1))
    return (
        f"{data.count} samples have {count} shapes, from {least} to {most}. Each batch has one of them. MACs are those "
        f"of the median, {_shapes_in_words(data, data.some(1))}"
    )


def _shapes_in_words(data: Dataset, samples: NDArray[np.int64]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in data.take(samples).items() if name in data.arrays)

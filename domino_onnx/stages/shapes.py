"""The shapes of a model's tensors: inferred, and seen in a run where inference stops."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.graph import OnnxFile, ShapeTable, infer_shapes

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["shapes_seen"]

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
            inputs = data.take(np.arange(data.batch_size(1)))
        else:
            inputs = random_inputs(input_specs(file.proto), dict(known), seed)
        return observe_shapes(file, table, inputs)
    except (DataError, DependencyError, ModelError) as error:
        _log.info("shapes stay as inference found them: %s", error)
        return table

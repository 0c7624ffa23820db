"""Copies of a model with other values in its stored tensors: one to be run, one to be rebuilt before it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.graph.index import stored_tensors
from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.stored import put
from domino_onnx.graph.walk import tensors
from domino_onnx.scheme import WeightKey

__all__ = ["loaded"]


def loaded(file: OnnxFile, values: Mapping[WeightKey, NDArray[np.generic]]) -> OnnxFile:
    """The file with `values` in place of its own, in the stored dtype and shape, and with its external data inline.

    `file` itself stays as it is.

    Raises
    ------
    ModelError
        If external data can't be read.
    """
    copy = ModelProto()
    copy.CopyFrom(file.proto)
    for key, tensor in stored_tensors(copy).items():
        if key in values:
            put(tensor, values[key])
    for tensor in filter(is_external, tensors(copy)):
        put(tensor, file.array(tensor))
    return dataclasses.replace(file, proto=copy, form="dense", loaded=True)

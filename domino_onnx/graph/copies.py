"""Which copies of a model are made in memory: with other values in it, or with more outputs?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from domino_onnx.graph.index import stored_tensors
from domino_onnx.graph.io.external import is_external, read_bytes, resolve
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.graph.walk import tensors
from domino_onnx.scheme import WeightKey

__all__ = ["loaded", "with_outputs"]

_MAX_BYTES = 1 << 30


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
            store_reshaped(tensor, values[key])
    for tensor in filter(is_external, tensors(copy)):
        tensor.raw_data = read_bytes(resolve(tensor, file.folder)).tobytes()
        tensor.data_location = TensorProto.DEFAULT
    return dataclasses.replace(file, proto=copy, form="dense", loaded=True)


def with_outputs(file: OnnxFile, names: Iterable[str]) -> bytes | None:
    """The model with these tensors of its main graph among its outputs, after its own, serialised.

    It is for a look in memory, and never written. None for a model of over 1 GiB, or with external data: looking takes
    copies of it.
    """
    if file.has_external_data or file.proto.ByteSize() > _MAX_BYTES:
        return None
    copy = ModelProto()
    copy.CopyFrom(file.proto)
    present = {value.name for value in copy.graph.output}
    copy.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    return bytes(copy.SerializeToString())

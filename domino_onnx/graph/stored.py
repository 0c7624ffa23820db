"""A stored tensor of the main graph, and how its message gets other values of another shape."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.io.tensors import store_values

__all__ = ["StoredTensor", "is_outlined", "put", "set_entry"]


@dataclasses.dataclass(frozen=True, slots=True)
class StoredTensor:
    """An initializer, with its place among them, or the value of a Constant node."""

    name: str
    tensor: TensorProto
    place: int | None
    node: NodeProto | None


def is_outlined(tensor: TensorProto) -> bool:
    """Whether a tensor is inline in memory and belongs in an external file when it is written: it says in which."""
    return bool(tensor.external_data) and not is_external(tensor) and tensor.HasField("raw_data")


def put(tensor: TensorProto, values: NDArray[Any]) -> None:
    """Give a tensor other values of another shape, inline, in the field that it had them in.

    Of one that was external the entries stay, as the mark that `is_outlined` sees.
    """
    tensor.dims[:] = values.shape
    if is_external(tensor):
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = b""
    store_values(tensor, values)


def set_entry(tensor: TensorProto, key: str, value: str) -> None:
    """Set one entry of a tensor's external_data, where it stands or at the end."""
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
            return
    tensor.external_data.add(key=key, value=value)

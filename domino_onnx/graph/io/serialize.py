"""Which bytes is a model? Those of `SerializeToString`, piece by piece, without its two or three copies of the whole.

Protobuf messages nest by length, and a replaced weight keeps its length. So all lengths are known beforehand, and each
initializer can be written on its own, with new values put in on the way; the ModelProto itself isn't touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto

from domino_onnx.graph.io.tensors import store_values

__all__ = ["serialized"]

_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_LENGTH_DELIMITED = 2
_M = TypeVar("_M", bound=Message)


def serialized(
    model: ModelProto, values: Mapping[str, Callable[[], NDArray[np.generic]]] | None = None
) -> Iterator[bytes]:
    """The serialized model in pieces, in the order that protobuf itself writes.

    Parameters
    ----------
    values
        New values for initializers of the main graph that are stored as raw data, by name, in their dtype and shape;
        called when their turn comes.
    """
    new = dict(values or {})
    outer_head, outer_tail = _around(model, _GRAPH)
    inner_head, inner_tail = _around(model.graph, _INITIALIZER)
    framed = sum(len(_frame(_INITIALIZER, size)) + size for size in map(TensorProto.ByteSize, model.graph.initializer))
    inner = len(inner_head) + framed + len(inner_tail)
    frame = _frame(_GRAPH, inner)
    if len(outer_head) + len(frame) + inner + len(outer_tail) != model.ByteSize():
        # Fields that this protobuf definition doesn't know have no number here: let protobuf itself place them.
        for tensor in model.graph.initializer:
            if tensor.name in new:
                store_values(tensor, new[tensor.name]())
        yield model.SerializeToString()
        return
    yield outer_head + frame + inner_head
    for tensor in model.graph.initializer:
        data = _with_values(tensor, new.get(tensor.name)).SerializeToString()
        yield _frame(_INITIALIZER, len(data))
        yield data
    yield inner_tail + outer_tail


def _around(message: _M, number: int) -> tuple[bytes, bytes]:
    """The serialized fields before and behind the field `number`."""
    head, tail = type(message)(), type(message)()
    for field, value in message.ListFields():
        if field.number == number:
            continue
        part = head if field.number < number else tail
        if field.is_repeated:
            getattr(part, field.name).extend(value)
        elif field.message_type is not None:
            getattr(part, field.name).CopyFrom(value)
        elif isinstance(value, bytes):  # a string that isn't UTF-8: read as it is, it may not be set
            part.MergeFromString(_frame(field.number, len(value)) + value)
        else:
            setattr(part, field.name, value)
    return head.SerializeToString(), tail.SerializeToString()


def _with_values(tensor: TensorProto, values: Callable[[], NDArray[np.generic]] | None) -> TensorProto:
    if values is None:
        return tensor
    changed = TensorProto()
    changed.CopyFrom(tensor)
    store_values(changed, values())
    return changed


def _frame(number: int, length: int) -> bytes:
    """Tag and length of an embedded message."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

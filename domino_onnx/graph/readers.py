"""Which operator reads each stored tensor first, and how many bytes has it?"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from domino_onnx.graph.io.external import declared_bytes
from domino_onnx.graph.walk import constant_tensor, subgraphs
from domino_onnx.scheme import WeightKey

__all__ = ["bytes_by_reader"]

_NONE = "nothing"
"""What reads a tensor that no node reads."""


def bytes_by_reader(model: ModelProto) -> Iterator[tuple[WeightKey, str, int]]:
    """Key, operator and bytes of each stored tensor of the main graph: initializers and Constant nodes.

    Operators that only convert or move numbers are looked through: what reads their output counts.
    """
    readers = _readers(model.graph)
    for tensor in model.graph.initializer:
        yield WeightKey(tensor.name), _reader(tensor.name, readers), _nbytes(tensor)
    for node in model.graph.node:
        constant = constant_tensor(node)
        if constant is not None:
            yield WeightKey(node.output[0]), _reader(node.output[0], readers), _nbytes(constant)


def _readers(graph: GraphProto) -> dict[str, NodeProto]:
    """The first node that reads each value, in subgraphs too."""
    found: dict[str, NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, node)
        for _, inner in subgraphs(node):
            for name, reader in _readers(inner).items():
                found.setdefault(name, reader)
    return found


def _reader(name: str, readers: dict[str, NodeProto]) -> str:
    seen = set()
    while name in readers and name not in seen:
        seen.add(name)
        node = readers[name]
        if node.op_type not in _MOVING or not node.output or node.output[0] not in readers:
            return node.op_type
        name = node.output[0]
    return _NONE


_MOVING = frozenset(
    ("Cast", "DequantizeLinear", "Expand", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
)


def _nbytes(tensor: TensorProto) -> int:
    """In memory and, but for a few bytes, in the file."""
    nbytes = declared_bytes(tensor)
    return int(tensor.ByteSize()) if nbytes is None else nbytes

"""What reads an input of a model, behind the nodes that only scale, cut or reshape it?"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from domino_onnx.graph import OnnxFile
from domino_onnx.graph.index import GraphIndex
from domino_onnx.graph.values import Scope, Stored

__all__ = ["Reader", "Readers"]

_PASSED = frozenset(
    (
        *("Abs", "Add", "BatchNormalization", "Cast", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Exp"),
        *("Expand", "Flatten", "Identity", "InstanceNormalization", "LayerNormalization", "Log", "Mul", "Neg", "Pad"),
        *("Pow", "QuantizeLinear", "Reshape", "Resize", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose"),
        "Unsqueeze",
    )
)
_SEVERAL = frozenset(("Add", "Concat", "Div", "Mul", "Sub"))
"""Those that keep what a value is whichever of their inputs it is."""
_MOST_NODES = 64
_EMBEDDING = {0: 2, 1: 4}
"""EmbedLayerNormalization: the place of ids, and of the table that they look up."""
_FEWEST_CODES = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A node that works on an input.

    Attributes
    ----------
    operator
        The node's type.
    position
        Which of the node's inputs it is.
    rows
        How many integers from 0 on the node tells apart, where it looks them up; None for others.
    spatial
        How many axes a convolution slides along; 0 for others.
    """

    operator: str
    position: int
    rows: int | None = None
    spatial: int = 0


class Readers:
    """The readers of each input of a model."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._index = GraphIndex(file.proto)
        self._uses: dict[tuple[tuple[str, ...], str], list[tuple[Scope, NodeProto, int]]] = {}
        for scope in self._index.scopes:
            for node in scope.nodes:
                for position, name in enumerate(node.input):
                    found = scope.locate(name) if name else None
                    if found is not None:
                        self._uses.setdefault((found[0].path, found[1]), []).append((scope, node, position))

    def of(self, name: str) -> tuple[Reader, ...]:
        """The nearest nodes that do more than scale, cut or reshape the input, the nearest first."""
        found: list[Reader] = []
        seen: set[tuple[tuple[str, ...], str]] = set()
        waiting = deque([(self._index.main.path, name)])
        while waiting and len(seen) < _MOST_NODES:
            value = waiting.popleft()
            if value in seen:
                continue
            seen.add(value)
            for scope, node, position in self._uses.get(value, ()):
                if node.op_type in _PASSED and (position == 0 or node.op_type in _SEVERAL):
                    waiting.extend((scope.path, output) for output in node.output if output)
                else:
                    found.append(self._reader(scope, node, position))
        return tuple(found)

    def _reader(self, scope: Scope, node: NodeProto, position: int) -> Reader:
        return Reader(
            operator=node.op_type,
            position=position,
            rows=self._rows(scope, node, position),
            spatial=self._spatial(scope, node) if node.op_type == "Conv" else 0,
        )

    def _rows(self, scope: Scope, node: NodeProto, position: int) -> int | None:
        if node.op_type == "Gather" and position == 1:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            return self._size(scope, node.input[0], axis)
        if node.op_type == "EmbedLayerNormalization" and position in _EMBEDDING:
            return self._size(scope, node.input[_EMBEDDING[position]], 0)
        if node.op_type == "OneHot" and position == 0:
            depth = self._values(scope, node.input[1])
            return None if depth is None or not depth.size else int(depth.flat[0])
        if node.op_type == "Equal":
            codes = self._values(scope, node.input[1 - position])
            if codes is not None and codes.size >= _FEWEST_CODES and codes.dtype.kind in "iuf":
                return int(codes.astype(np.float64).max()) + 1
        return None

    def _size(self, scope: Scope, name: str, axis: int) -> int | None:
        table = self._index.trace(scope, name)
        if not isinstance(table, Stored) or not -len(table.shape) <= axis < len(table.shape):
            return None
        return table.shape[axis]

    def _values(self, scope: Scope, name: str) -> NDArray[np.generic] | None:
        stored = self._index.trace(scope, name)
        return self._file.array(stored.tensor) if isinstance(stored, Stored) and stored.scaling is None else None

    def _spatial(self, scope: Scope, node: NodeProto) -> int:
        weight = self._index.trace(scope, node.input[1]) if len(node.input) > 1 else None
        return len(weight.shape) - 2 if isinstance(weight, Stored) else 0

"""The standard operators that make a weight of its packed parts, wherever ONNX runs.

All they read is stored, so ONNX Runtime computes the weight once, while it loads the model. They exist since opset 9.
docs/format.md draws them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.storage import Grouping

__all__ = ["ITEMSIZES", "Expansion", "Part", "expansion", "refusal"]

_SINCE = 9
_SCATTER_ELEMENTS_SINCE = 11
_BFLOAT16_SINCE = 13
_CONSTANT_OF_BFLOAT16_SINCE = 20
ITEMSIZES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.DOUBLE: 8,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
}
"""Element types of the weights that may be stored in other forms than dense, and the bytes of a value."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Nodes in the order in which they run, and what they read besides the weight's own two parts."""

    nodes: tuple[NodeProto, ...]
    constants: tuple[TensorProto, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A packed weight without its numbers: what its expansion depends on.

    Attributes
    ----------
    name
        Of the weight.
    prefix
        What the names that we add begin with; constants are shared by all weights of a file.
    number
        Of the weight in the file.
    stored
        Shape of its values: (groups, n) or (count,).
    data_type
        ONNX element type.
    """

    name: str
    prefix: str
    number: int
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    data_type: int
    grouping: Grouping | None

    def part(self, what: str) -> str:
        """Name of one of the weight's own tensors: ``"values"``, ``"codes"`` and what lies between them and it."""
        return f"{self.prefix}{self.number}.{what}"


def refusal(data_type: int, opset: int) -> str | None:
    """Why weights of a type can't be expanded at an opset; None if they can."""
    if data_type not in ITEMSIZES:
        return f"{TensorProto.DataType.Name(data_type).lower()} values aren't packed"
    if opset < _SINCE:
        return f"opset {opset} has no operator that scatters values; {_SINCE} is the first that has"
    if data_type == TensorProto.BFLOAT16 and opset < _BFLOAT16_SINCE:
        return f"opset {opset} scatters no bfloat16; {_BFLOAT16_SINCE} is the first that does"
    return None


def expansion(part: Part, opset: int) -> Expansion:
    """The nodes and constants that make the weight `part.name`; the same arguments give the same bytes."""
    builder = _Builder(part, opset)
    if part.grouping is None:
        builder.from_bitmask()
    else:
        builder.from_positions(part.grouping)
    return Expansion(nodes=tuple(builder.nodes), constants=tuple(builder.constants.values()))


class _Builder:
    """Strings nodes together; a weight's own names are short, since each stands in the file a few times."""

    def __init__(self, part: Part, opset: int) -> None:
        self._part = part
        self._opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def from_bitmask(self) -> None:
        """The places of all bits that are set, scattered to."""
        shape = self._part.shape
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.bool_)
        mask = self._reshaped(self._looked_up("bits", bits), (-1,))
        places = self._reshaped(self._node("NonZero", mask), (-1,))
        flat = self._scattered(places, (int(np.prod(shape)),), axis=0)
        self._reshaped(flat, shape, last=True)

    def from_positions(self, grouping: Grouping) -> None:
        """The positions inside each group, scattered to; then the groups laid out along their axis."""
        shape, m, digits = self._part.shape, grouping.m, grouping.digits
        if digits > 1:
            table = np.arange(m**digits)[:, None] // m ** np.arange(digits) % m
            positions = self._looked_up(f"digits{digits}of{m}", table.astype(np.int32))
        else:
            positions = self._integers()
        places = self._reshaped(positions, self._part.stored)
        groups = self._scattered(places, (self._part.stored[0], m), axis=1)
        moved, axis, rank = grouping.moved(shape), grouping.axis, len(shape)
        if axis == rank - 1:
            self._reshaped(groups, moved, last=True)
            return
        order = [*range(axis), rank - 1, *range(axis, rank - 1)]
        self._node("Transpose", self._reshaped(groups, moved), last=True, perm=order)

    def _integers(self) -> str:
        return self._node("Cast", self._part.part("codes"), to=TensorProto.INT32)

    def _looked_up(self, name: str, table: NDArray[np.generic]) -> str:
        """Each byte replaced by its row of a table; Gather takes no bytes as indices."""
        return self._node("Gather", self._constant(name, table), self._integers(), axis=0)

    def _scattered(self, places: str, shape: Sequence[int], axis: int) -> str:
        operator = "ScatterElements" if self._opset >= _SCATTER_ELEMENTS_SINCE else "Scatter"
        return self._node(operator, self._zeros(shape), places, self._part.part("values"), axis=axis)

    def _zeros(self, shape: Sequence[int]) -> str:
        wanted = self._part.data_type
        made = wanted != TensorProto.BFLOAT16 or self._opset >= _CONSTANT_OF_BFLOAT16_SINCE
        zero = TensorProto(data_type=wanted if made else TensorProto.FLOAT, dims=(1,))
        zero.raw_data = bytes(ITEMSIZES[zero.data_type])
        zeros = self._node("ConstantOfShape", self._sizes(shape), value=zero)
        return zeros if made else self._node("Cast", zeros, to=wanted)

    def _reshaped(self, value: str, shape: Sequence[int], *, last: bool = False) -> str:
        return self._node("Reshape", value, self._sizes(shape), last=last)

    def _sizes(self, shape: Sequence[int]) -> str:
        return self._constant("shape" + "x".join(map(str, shape)), np.array(shape, np.int64))

    def _constant(self, name: str, array: NDArray[np.generic]) -> str:
        whole = self._part.prefix + name
        self.constants[whole] = numpy_helper.from_array(array, whole)
        return whole

    def _node(self, operator: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        output = self._part.name if last else self._part.part(str(len(self.nodes)))
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

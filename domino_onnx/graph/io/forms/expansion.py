"""Which standard operators make a weight of its packed parts, wherever ONNX runs?

All they read is stored, so ONNX Runtime computes the weight once, while it loads the model. They exist since opset 11.
docs/format.md lists them. (NonZero would give a bitmask's places at once, but ONNX Runtime doesn't fold it.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.storage import Grouping

__all__ = ["ITEMSIZES", "Expansion", "Part", "expansion", "refusal"]

_SINCE = 11
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
        Shape of its values: (groups, n) or (1 + count,).
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
        """Name of one of the weight's own tensors: ``"values"``, ``"codes"`` and those between them and it."""
        return f"{self.prefix}{self.number}.{what}"


def refusal(data_type: int, opset: int) -> str | None:
    """Why weights of a type can't be expanded at an opset; None if they can."""
    if data_type not in ITEMSIZES:
        return f"{TensorProto.DataType.Name(data_type).lower()} values aren't packed"
    if opset < _SINCE:
        return f"opset {opset} lacks what expands it (CumSum, ScatterElements), which came with {_SINCE}"
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
    """Strings nodes together; a weight's own names are short, since each is in the file a few times."""

    def __init__(self, part: Part, opset: int) -> None:
        self._part = part
        self._opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def from_bitmask(self) -> None:
        """For each value its number among those that have a bit, or 0, and the values looked up by that."""
        shape, size = self._part.shape, math.prod(self._part.shape)
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        codes = self._integers()
        numbers = self._node("Gather", self._constant("numbers", np.cumsum(bits, axis=1, dtype=np.uint8) * bits), codes)
        counts = self._node("Gather", self._constant("counts", bits.sum(axis=1, dtype=np.int32)), codes)
        before = self._node("CumSum", counts, self._constant("axis", np.array(0, np.int32)), exclusive=1)
        inside = self._node("Cast", numbers, to=TensorProto.INT32)
        number = self._node("Add", inside, self._reshaped(before, (-1, 1)))
        has_bit = self._node("Cast", self._node("Cast", numbers, to=TensorProto.BOOL), to=TensorProto.INT32)
        places = self._node("Mul", number, has_bit)
        if size % 8:
            ends = (self._sizes((0,)), self._sizes((size,)))
            places = self._node("Slice", self._reshaped(places, (-1,)), *ends)
        values = self._node("Gather", self._part.part("values"), places)
        self._reshaped(values, shape, last=True)

    def from_positions(self, grouping: Grouping) -> None:
        """The positions inside each group, scattered to; then the groups laid out along their axis."""
        shape, m, digits = self._part.shape, grouping.m, grouping.digits
        positions = self._integers()
        if digits > 1:
            table = np.arange(m**digits)[:, None] // m ** np.arange(digits) % m
            positions = self._node("Gather", self._constant(f"digits{digits}of{m}", table.astype(np.int32)), positions)
        places = self._reshaped(positions, self._part.stored)
        zeros = self._zeros((self._part.stored[0], m))
        groups = self._node("ScatterElements", zeros, places, self._part.part("values"), axis=1)
        moved, axis, rank = grouping.moved(shape), grouping.axis, len(shape)
        if axis == rank - 1:
            self._reshaped(groups, moved, last=True)
            return
        order = [*range(axis), rank - 1, *range(axis, rank - 1)]
        self._node("Transpose", self._reshaped(groups, moved), last=True, perm=order)

    def _integers(self) -> str:
        """The codes as Gather and ScatterElements take indices."""
        return self._node("Cast", self._part.part("codes"), to=TensorProto.INT32)

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

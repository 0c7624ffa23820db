"""Activations that are there as bytes while the layers of a graph are replaced, and what converts them at borders.

Bytes of images have the channels last: (image, *space, channel). Those of matrices lie as the file has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from domino_onnx.deployment.grids import SIGNED, FileValue, Grid
from domino_onnx.deployment.operators import DOMAIN
from domino_onnx.deployment.surgeon import drop_unread, require_surgeon

__all__ = ["ByteValues"]


@dataclasses.dataclass(slots=True, kw_only=True)
class _Value:
    """One activation: its bytes, their rank and grid, and whether a replaced node gives them."""

    bytes: Any
    rank: int
    grid: Grid
    is_made: bool = False


class ByteValues:
    """Activations of a graph as bytes.

    Parameters
    ----------
    names
        For what is added.
    grids
        Of activations by their names.
    file
        Those that the file itself holds in 8 bits, by the names of the floats on both sides of the bytes.
    """

    def __init__(
        self, graph: Any, names: Iterator[str], grids: Mapping[str, Grid], file: Mapping[str, FileValue]
    ) -> None:
        self._graph = graph
        self._surgeon = require_surgeon()
        self._tensors = graph.tensors()
        self._names = names
        self._grids = grids
        self._file = file
        self._values: dict[tuple[str, bool], _Value] = {}

    def read(self, name: str, rank: int, *, is_image: bool = True) -> Any:
        """The tensor of an activation's bytes."""
        return self._value(name, rank, is_image=is_image).bytes

    def make(self, name: str, rank: int, *, is_image: bool = True) -> Any:
        """The same, for a node that gives it."""
        value = self._value(name, rank, is_image=is_image)
        value.is_made = True
        if value.bytes is self._tensors.get(self.key(name)):
            _leave(value.bytes.inputs[0])
        return value.bytes

    def key(self, name: str) -> str:
        """What all names of an activation have in common."""
        return self._file[name].integers if name in self._file else name

    def images(self, *, made: bool) -> dict[str, int]:
        """The rank of the images that replaced nodes give, or that they only read, by key."""
        found = ((key, value) for (key, is_image), value in self._values.items() if is_image)
        return {key: value.rank for key, value in found if value.is_made == made}

    def put_borders(self) -> None:
        """Convert the bytes from what other nodes give, and to what they read."""
        drop_unread(self._graph, ("DequantizeLinear",))
        file = {value.integers: value for value in self._file.values()}
        for (key, is_image), value in sorted(self._values.items(), key=lambda each: each[1].is_made):
            if key in file:
                self._put_file_border(file[key], value, is_image=is_image)
            elif not value.is_made:
                self._to_bytes(self._tensors[key], value)
            elif self._is_read(self._tensors[key]):
                self._put("NmToFloats", [value.bytes], self._tensors[key], domain=DOMAIN, **_attributes(value.grid))

    def floats_of(self, integers: Any, grid: Grid, *, signed: bool = False, to: Any = None) -> Any:
        """What DequantizeLinear makes of bytes."""
        floats = self.new() if to is None else to
        self._put("DequantizeLinear", [integers, *self._parameters(grid, signed=signed)], floats)
        return floats

    def quantized(self, floats: Any, grid: Grid, to: Any) -> None:
        """Let QuantizeLinear make unsigned bytes of floats."""
        self._put("QuantizeLinear", [floats, *self._parameters(grid, signed=False)], to)

    def new(self) -> Any:
        """A tensor with a name of its own."""
        return self._surgeon.Variable(next(self._names))

    def _value(self, name: str, rank: int, *, is_image: bool) -> _Value:
        key = self.key(name)
        if (key, is_image) not in self._values:
            is_there = not is_image and not self._file[name].is_signed
            tensor = self._tensors[key] if is_there else self.new()
            self._values[key, is_image] = _Value(bytes=tensor, rank=rank, grid=self._grids[name])
        return self._values[key, is_image]

    def _put_file_border(self, file: FileValue, value: _Value, *, is_image: bool) -> None:
        """To or from bytes of the file: a transposition, or floats where those are signed."""
        integers = self._tensors[file.integers]
        if value.bytes is integers:
            return
        if value.is_made:
            self._put_behind(integers, file, value, is_image=is_image)
            return
        source = None if self._is_made(file.integers) else _unquantized(integers)
        if is_image and source is not None:
            self._to_bytes(source, value)
        elif not file.is_signed:
            self._put("Transpose", [integers], value.bytes, perm=[0, *range(2, value.rank), 1])
        else:
            floats = self.floats_of(integers, file.grid, signed=True)
            if is_image:
                self._to_bytes(floats, value)
            else:
                self.quantized(floats, value.grid, value.bytes)

    def _is_made(self, key: str) -> bool:
        """Whether a replaced node gives an activation, in whatever form: nothing gives its floats then."""
        return any(value.is_made for (name, _), value in self._values.items() if name == key)

    def _put_behind(self, integers: Any, file: FileValue, value: _Value, *, is_image: bool) -> None:
        """Give the file's bytes to what still reads them."""
        quantizer = integers.inputs[0]
        if not self._is_read(integers):
            _leave(quantizer)
        elif not file.is_signed:
            _leave(quantizer)
            self._put("Transpose", [value.bytes], integers, perm=[0, value.rank - 1, *range(1, value.rank - 1)])
        elif is_image:
            self._put("NmToFloats", [value.bytes], quantizer.inputs[0], domain=DOMAIN, **_attributes(value.grid))
        else:
            self.floats_of(value.bytes, value.grid, to=quantizer.inputs[0])

    def _to_bytes(self, floats: Any, value: _Value) -> None:
        self._put("NmToBytes", [floats], value.bytes, domain=DOMAIN, **_attributes(value.grid))

    def _is_read(self, tensor: Any) -> bool:
        return bool(tensor.outputs) or any(tensor is output for output in self._graph.outputs)

    def _parameters(self, grid: Grid, *, signed: bool) -> list[Any]:
        zero_point = np.int8(grid.zero_point - SIGNED) if signed else np.uint8(grid.zero_point)
        values = (np.array(grid.scale, np.float32), np.array(zero_point))
        return [self._surgeon.Constant(next(self._names), value) for value in values]

    def _put(self, op: str, inputs: list[Any], output: Any, domain: str = "", **attributes: Any) -> None:
        node = self._surgeon.Node(op=op, attrs=attributes, inputs=inputs, outputs=[output], domain=domain)
        self._graph.nodes.append(node)


def _attributes(grid: Grid) -> dict[str, Any]:
    return {"scale": grid.scale, "zero_point": grid.zero_point}


def _leave(node: Any) -> None:
    """Cut a node off; it is taken away with all that nothing reads."""
    node.inputs.clear()
    node.outputs.clear()


def _unquantized(integers: Any) -> Any | None:
    """The floats that QuantizeLinear reads, if they are no result of a node that ONNX Runtime computes in bytes."""
    quantizer = integers.inputs[0] if integers.inputs else None
    if quantizer is None or quantizer.op != "QuantizeLinear":
        return None
    floats = quantizer.inputs[0]
    made = floats.inputs[0] if floats.inputs else None
    in_bytes = made is not None and any(each.inputs and each.inputs[0].op == "DequantizeLinear" for each in made.inputs)
    return None if in_bytes else floats

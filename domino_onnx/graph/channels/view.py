"""One node as a rule about axes sees it: its tensors with known shapes, and ways to link what it understands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto

from domino_onnx.graph.channels.axes import AxisLinks, Places
from domino_onnx.graph.shapes import Shape

__all__ = ["Constants", "Link", "NodeView", "Port", "ShapeOf"]

Constants = Callable[[str], NDArray[np.generic] | None]
"""The values of a tensor that never changes, by name; None for all others."""
ShapeOf = Mapping[str, Shape]


@dataclasses.dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a node. One that is left out has no name and no axes."""

    number: int
    name: str
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)


Link = tuple[Port, int]
"""An axis of a port."""


class NodeView:
    """A node whose tensors all have a known rank.

    Every axis of its ports that no call names is frozen by `freeze_rest`.
    """

    def __init__(self, node: NodeProto, shapes: ShapeOf, links: AxisLinks, constants: Constants, opset: int) -> None:
        self.op = node.op_type
        self.opset = opset
        self._links = links
        self._constants = constants
        self._attributes = {attribute.name: attribute for attribute in node.attribute}
        self.inputs = tuple(Port(k, name, shapes[name] if name else ()) for k, name in enumerate(node.input))
        self.outputs = tuple(Port(~k, name, shapes[name] if name else ()) for k, name in enumerate(node.output))
        self._named: set[Link] = set()

    @property
    def x(self) -> Port:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> Port:
        """The first output."""
        return self.outputs[0]

    @property
    def only_output(self) -> bool:
        """Whether no output but the first is asked for."""
        return bool(self.outputs) and not any(port.name for port in self.outputs[1:])

    def has(self, attribute: str) -> bool:
        """Whether the node sets this attribute."""
        return attribute in self._attributes

    def integer(self, attribute: str, default: int) -> int:
        """An integer attribute."""
        return int(self._attributes[attribute].i) if self.has(attribute) else default

    def text(self, attribute: str, default: str) -> str:
        """A string attribute."""
        return self._attributes[attribute].s.decode("utf-8", "replace") if self.has(attribute) else default

    def integers(self, attribute: str, position: int) -> tuple[int, ...] | None:
        """Integers that an attribute gives, or in later opsets a constant input; None if neither is there and known."""
        if self.has(attribute) and self._attributes[attribute].type == AttributeProto.INTS:
            return tuple(self._attributes[attribute].ints)
        values = self.constant(position)
        if values is None or values.ndim != 1 or values.dtype.kind != "i":
            return None
        return tuple(int(value) for value in values)

    def given(self, position: int) -> bool:
        """Whether the node has this optional input."""
        return position < len(self.inputs) and bool(self.inputs[position].name)

    def constant(self, position: int) -> NDArray[np.generic] | None:
        """The values of an input that is constant."""
        return self._constants(self.inputs[position].name) if self.given(position) else None

    def link(self, *axes: Link) -> None:
        """These axes are permuted alike."""
        (first, axis), *others = axes
        self.release(*axes)
        for port, other in others:
            self._links.link((first.name, axis), (port.name, other))

    def link_part(self, first: Link, first_places: Places, second: Link, second_places: Places) -> None:
        """Places of two axes are permuted alike, pairwise; the node treats all places that aren't named the same."""
        self.release(first, second)
        self._links.link_part((first[0].name, first[1]), first_places, (second[0].name, second[1]), second_places)

    def release(self, *axes: Link) -> None:
        """The node doesn't mind how these axes are permuted."""
        self._named.update(axes)

    def link_all(self, ports: Sequence[Port], skip: frozenset[int] = frozenset()) -> None:
        """Axis by axis, tensors of equal rank are permuted alike; the axes in `skip` aren't named."""
        if len({port.rank for port in ports}) == 1:
            for axis in sorted(set(range(ports[0].rank)) - skip):
                self.link(*((port, axis) for port in ports))

    def freeze_rest(self) -> None:
        """Freeze every axis that no call has named."""
        for port in (*self.inputs, *self.outputs):
            for axis in range(port.rank):
                if (port, axis) not in self._named:
                    self._links.freeze((port.name, axis))

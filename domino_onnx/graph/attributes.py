"""What are the attributes of a node? The one reader of them, but for tensors and subgraphs (`walk`)."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import AttributeProto, NodeProto

__all__ = ["Attribute", "attributes", "has_attribute_of_caller", "integer", "integers"]

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


def attributes(node: NodeProto) -> dict[str, Attribute]:
    """Integers, floats, strings, and lists of integers and floats, by name; others are left out."""
    read = ((attribute.name, _value(attribute)) for attribute in node.attribute)
    return {name: value for name, value in read if value is not None}


def integer(values: Mapping[str, object], name: str, default: int) -> int:
    """An integer among attributes; 0 for one that is there but has another type, which no valid model has."""
    value = values.get(name, default)
    return value if isinstance(value, int) else 0


def integers(values: Mapping[str, object], name: str) -> tuple[int, ...] | None:
    """A list of integers among attributes; None without it, and an empty one for an attribute of another type."""
    value = values.get(name)
    if value is None:
        return None
    return tuple(each for each in value if isinstance(each, int)) if isinstance(value, tuple) else ()


def has_attribute_of_caller(node: NodeProto) -> bool:
    """Whether the caller of a local function gives an attribute of the node, so that the node doesn't tell it."""
    return any(attribute.ref_attr_name for attribute in node.attribute)


def _value(attribute: AttributeProto) -> Attribute | None:
    if attribute.type == AttributeProto.INT:
        return int(attribute.i)
    if attribute.type == AttributeProto.FLOAT:
        return float(attribute.f)
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type == AttributeProto.INTS:
        return tuple(attribute.ints)
    if attribute.type == AttributeProto.FLOATS:
        return tuple(attribute.floats)
    return None

"""msgspec's descriptions of types: which of a union a value is meant for, and what lies inside."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec.inspect as mi

from domino_onnx.codec.write import is_text_class

__all__ = ["SEVERAL", "Object", "item_types", "member_for", "type_inside"]

SEVERAL = (list, tuple, set, frozenset)
"""Classes of values with several items."""
Object = mi.StructType | mi.DataclassType
_Items = mi.ListType | mi.VarTupleType | mi.SetType | mi.FrozenSetType


def member_for(kind: mi.Type, value: object) -> mi.Type:
    """The type without metadata; of a union, the one type that may fit the value, or the union itself."""
    if isinstance(kind, mi.Metadata):
        return member_for(kind.type, value)
    if not isinstance(kind, mi.UnionType):
        return kind
    members = [member_for(each, value) for each in kind.types]
    fitting = [each for each in members if _may_fit(each, value)]
    return fitting[0] if len(fitting) == 1 else kind


def item_types(kind: mi.Type, count: int) -> list[mi.Type]:
    """The types of so many items; msgspec refuses a wrong count."""
    if isinstance(kind, mi.TupleType) and len(kind.item_types) == count:
        return list(kind.item_types)
    return [kind.item_type if isinstance(kind, _Items) else mi.AnyType()] * count


def type_inside(kind: mi.Type, name: str, index: int) -> mi.Type:
    """The type at one step into a value."""
    if isinstance(kind, Object):
        return next((field.type for field in kind.fields if field.encode_name == name), mi.AnyType())
    if isinstance(kind, mi.TupleType):
        return kind.item_types[index]
    return kind.item_type if isinstance(kind, _Items) else mi.AnyType()


def _may_fit(kind: mi.Type, value: object) -> bool:
    if isinstance(kind, mi.CustomType | Object) and isinstance(value, kind.cls):
        return True
    if isinstance(value, Mapping):
        return isinstance(kind, mi.DictType | Object)
    if isinstance(value, SEVERAL):
        return isinstance(kind, _Items | mi.TupleType)
    if isinstance(value, str):
        as_text = isinstance(kind, Object) and is_text_class(kind.cls)
        return as_text or isinstance(kind, mi.StrType | mi.LiteralType | mi.CustomType)
    return False

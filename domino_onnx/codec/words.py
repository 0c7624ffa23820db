"""Places, values and types in words, for messages about documents."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec.inspect as mi

from domino_onnx.codec.write import is_text_class
from domino_onnx.plurals import quantity

__all__ = ["at", "described", "either", "listed", "meant", "nearest", "shown"]

_MOST_KEYS = 40


def at(what: str, path: str) -> str:
    """The beginning of a sentence about one place in a document; the document itself for an empty path."""
    return f"{what}: {path!r}" if path else what


def shown(value: object) -> str:
    """A value as Python writes it, cut short."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    try:
        return short.repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"


def nearest(key: object, known: Iterable[str]) -> str:
    """What an unknown key may have been meant to be, and the keys there are."""
    names = list(known)
    return f"{_perhaps(key, names)}known are {listed(names)}"


def meant(value: object, kind: mi.Type) -> str:
    """What a value that is none of the choices of a type may have been meant to be, as a question; "" without any."""
    return _perhaps(value, [choice for choice in _choices(kind) if isinstance(choice, str)])


def _perhaps(value: object, names: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(value.lower(), lower, n=1)
    return f"did you mean {lower[close[0]]!r}? " if close else ""


def _choices(kind: mi.Type) -> list[object]:
    if isinstance(kind, mi.Metadata):
        return _choices(kind.type)
    if isinstance(kind, mi.UnionType):
        return [choice for each in kind.types for choice in _choices(each)]
    return list(kind.values) if isinstance(kind, mi.LiteralType) else []


def listed(names: list[str]) -> str:
    """Names with commas between them, cut short."""
    more = f" and {len(names) - _MOST_KEYS} more" if len(names) > _MOST_KEYS else ""
    return ", ".join(names[:_MOST_KEYS]) + more


def either(choices: Iterable[str]) -> str:
    """``"a, b or c"``."""
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def described(kind: mi.Type, *, by_class: bool = False) -> str:
    """What a value of this type must be, for instance ``"a whole number from 1 to 64"``.

    ``Meta(extra={"wanted": ...})`` in the annotation replaces what is derived from the type. `by_class` names classes,
    for values from Python; otherwise the words are about what a document holds. A document leaves a key out instead of
    writing null, which TOML doesn't have, so that unions don't name it.
    """
    if isinstance(kind, mi.Metadata):
        wanted = (kind.extra or {}).get("wanted")
        return described(kind.type, by_class=by_class) if wanted is None else str(wanted)
    if isinstance(kind, mi.UnionType):
        kinds = [each for each in kind.types if by_class or not isinstance(each, mi.NoneType)]
        return either(described(each, by_class=by_class) for each in kinds)
    if by_class and isinstance(kind, mi.NoneType):
        return "None"
    if by_class and hasattr(kind, "cls"):
        return _named(kind)
    derived = _DERIVED.get(type(kind), _named)
    return derived(kind)


def _number(kind: Any) -> str:
    noun = "a whole number" if isinstance(kind, mi.IntType) else "a number"
    if kind.ge is not None and kind.le is not None:
        return f"{noun} from {kind.ge:g} to {kind.le:g}"
    bounds = {"above": kind.gt, "at least": kind.ge, "below": kind.lt, "at most": kind.le}
    limits = " and ".join(f"{word} {limit:g}" for word, limit in bounds.items() if limit is not None)
    return f"{noun} {limits}" if limits else noun


def _text(kind: Any) -> str:
    if kind.pattern is not None:
        return f"text that matches {kind.pattern}"
    return "text that isn't empty" if kind.min_length else "text"


def _sequence(kind: Any) -> str:
    lengths = {"at least": kind.min_length, "at most": kind.max_length}
    limits = " and ".join(
        f"{word} {quantity(length, 'item')}" for word, length in lengths.items() if length is not None
    )
    return f"a list, each item {described(kind.item_type)}" + (f" ({limits})" if limits else "")


def _keys(kind: Any) -> str:
    if is_text_class(kind.cls):
        return "text"
    return f"keys and values ({listed([field.encode_name for field in kind.fields])})"


def _named(kind: Any) -> str:
    """A type that has no words of its own, by its name."""
    return str(kind.cls.__name__) if hasattr(kind, "cls") else type(kind).__name__.removesuffix("Type").lower()


def _custom(kind: Any) -> str:
    if is_text_class(kind.cls):
        return "text"
    return "the path of a file" if issubclass(kind.cls, PurePath) else _named(kind)


_DERIVED: Mapping[type, Callable[[Any], str]] = {
    mi.NoneType: lambda _: "null",
    mi.AnyType: lambda _: "anything",
    mi.BoolType: lambda _: "true or false",
    mi.IntType: _number,
    mi.FloatType: _number,
    mi.StrType: _text,
    mi.LiteralType: lambda kind: either(map(repr, kind.values)),
    mi.ListType: _sequence,
    mi.VarTupleType: _sequence,
    mi.SetType: _sequence,
    mi.FrozenSetType: _sequence,
    mi.TupleType: lambda kind: f"a list of {len(kind.item_types)}: {', '.join(map(described, kind.item_types))}",
    mi.DictType: lambda _: "keys and values",
    mi.CustomType: _custom,
    mi.StructType: _keys,
    mi.DataclassType: _keys,
}

"""Typed values as plain values, and plain values as JSON text."""

from __future__ import annotations

import dataclasses
import json
import numbers
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec

__all__ = ["builtin", "encode", "is_text_class", "plain"]


def is_text_class(kind: type) -> bool:
    """Whether documents hold values of this class as text: it has `parse`, and `str` gives what `parse` reads."""
    return callable(getattr(kind, "parse", None))


def encode(
    value: object,
    *,
    indent: int | None = None,
    spaced: bool = False,
    finite: bool = True,
    enc_hook: Callable[[Any], Any] | None = None,
) -> str:
    """A value as JSON text; the same value gives the same text.

    Parameters
    ----------
    indent
        Spaces a level; None for one line.
    spaced
        Whether one line has blanks after commas and colons.
    finite
        Whether NaN and infinity are refused, which is a ValueError: JSON has neither.
    enc_hook
        Makes a plain value of one whose class isn't known here.
    """
    separators = None if spaced or indent is not None else (",", ":")
    return json.dumps(
        plain(value, enc_hook), indent=indent, separators=separators, ensure_ascii=False, allow_nan=not finite
    )


def plain(value: object, enc_hook: Callable[[Any], Any] | None = None) -> Any:
    """Dicts, lists and scalars that `convert` makes the same value of.

    Raises
    ------
    TypeError
        For a value of a class that neither this function nor `enc_hook` knows.
    """
    if is_text_class(type(value)) or isinstance(value, PurePath):
        return str(value)
    value = builtin(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, enc_hook) for item in value]
    pairs = _pairs(value)
    if pairs is not None:
        return {key: plain(item, enc_hook) for key, item in pairs}
    if enc_hook is None:
        raise TypeError(f"a {type(value).__name__} has no form in a document")
    return plain(enc_hook(value), enc_hook)


def builtin(value: Any) -> Any:
    """Scalars of numpy as Python's, on which msgspec and JSON insist; anything else as it is."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _pairs(value: object) -> list[tuple[Any, Any]] | None:
    """Keys and values of a mapping, a struct or a dataclass; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, msgspec.Struct):
        return _written(value)
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _written(struct: msgspec.Struct) -> list[tuple[str, Any]]:
    """The keys and values of a struct, without those that `omit_defaults` leaves out."""
    omits = struct.__struct_config__.omit_defaults
    pairs = [(field, getattr(struct, field.name)) for field in msgspec.structs.fields(struct)]
    return [
        (field.encode_name, value)
        for field, value in pairs
        if value is not msgspec.UNSET and not (omits and value == field.default)
    ]

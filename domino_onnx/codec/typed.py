"""Plain values as typed values, by msgspec.

msgspec checks types, choices and ranges. Three things are added here:

- Unknown keys of dataclasses are refused, at any depth; msgspec ignores them. Structs say themselves what they want.
- Classes with a `parse` method, and paths, are read from text.
- Each message names the place, the value there, and what it must be.

Don't write a union of a tuple of fixed length and a number or text with limits: msgspec 0.22 crashes on it when garbage
is collected. ``Annotated[tuple[int, ...], Meta(min_length=2, max_length=2)]`` does the same without crashing.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, NoReturn, TypeVar

import msgspec
import msgspec.inspect as mi

from domino_onnx.codec.kinds import SEVERAL, Object, item_types, member_for, type_inside
from domino_onnx.codec.syntax import Syntax, parse
from domino_onnx.codec.words import at, described, meant, nearest, shown
from domino_onnx.codec.write import builtin, is_text_class
from domino_onnx.errors import DominoError
from domino_onnx.files import check_name

__all__ = ["Hook", "check_fields", "convert", "decode", "refuse_unknown", "require_version"]

T = TypeVar("T")
Hook = Callable[[type, Any], Any]
"""Makes a value of a class that isn't known here; ValueError, TypeError or DominoError for what doesn't fit."""
_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at `(?P<of_key>key` in `)?\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_OF_TYPES = ("Expected", "Invalid enum", "Number out", "Integer value out")


def decode(
    text: str | bytes,
    kind: type[T],
    *,
    what: str,
    error: type[DominoError],
    syntax: Syntax = "json",
    finite: bool = True,
    dec_hook: Hook | None = None,
) -> T:
    """A text as a value of the type `kind`: `parse`, then `convert`, whose parameters and errors it has."""
    value = parse(text, what=what, error=error, syntax=syntax, finite=finite)
    return convert(value, kind, what=what, error=error, dec_hook=dec_hook)


def convert(
    value: object,
    kind: type[T],
    *,
    what: str,
    error: type[DominoError],
    dec_hook: Hook | None = None,
    path: str = "",
    python: bool = False,
) -> T:
    """Plain values as a value of the type `kind`.

    Parameters
    ----------
    kind
        A struct, a dataclass, or any other type that msgspec knows; ranges are `msgspec.Meta` in the annotations.
    what
        The document, as messages call it.
    error
        What is raised for a value that doesn't fit.
    path
        The value's place in the document, for messages.
    python
        Whether the value is Python's, in which scalars may be numpy's and a None is called so.

    Raises
    ------
    DominoError
        Of the class `error`, naming the place, the value there, and what it must be.
    """
    reader = _Reader(what, error, dec_hook, by_class=python)
    plain = _plain(value) if python else value
    try:
        return typing.cast(T, reader.typed(reader.admitted(plain, mi.type_info(kind), path), kind, path))
    except RecursionError:
        raise error(f"{what} is nested too deeply") from None


def check_fields(instance: object, error: type[DominoError], what: str | None = None) -> None:
    """Check each field of a dataclass instance against its annotation: type, choices, range.

    A float field may hold a whole number, a tuple field a list. Text and paths must be UTF-8, so that a document can
    hold them. Dataclasses in its fields are checked too.

    Raises
    ------
    DominoError
        Of the class `error`, naming the field, its value and what it must be.
    """
    _Reader(what or type(instance).__name__, error, python=True).check(instance, "")


def require_version(document: object, key: str, known: int, *, what: str, error: type[DominoError]) -> None:
    """Raise `error` if a document is of another version, before anything else of it is looked at."""
    if not isinstance(document, Mapping):
        raise error(f"{what} holds {shown(document)}; it must hold keys and values")
    if key not in document:
        raise error(f"{what} lacks the key {key!r}")
    version = document[key]
    if isinstance(version, bool) or version != known:
        raise error(f"{what} has the version {shown(version)}, which is unknown; this program reads {known}")


def refuse_unknown(
    keys: Iterable[object], known: Iterable[str], *, what: str, error: type[DominoError], path: str = ""
) -> None:
    """Raise `error` for a key that isn't among `known`; it names the nearest one, and all that are known."""
    names = list(known)
    for key in keys:
        if key not in names:
            place = f" in {path!r}" if path else ""
            raise error(f"{what}: unknown key {shown(key)}{place}; {nearest(key, names)}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one document, or checks one instance that Python code made (`python`).

    Messages name classes, and None, where the value comes from Python (`by_class`).
    """

    what: str
    error: type[DominoError]
    hook: Hook | None = None
    python: bool = False
    by_class: bool = False

    def check(self, instance: Any, path: str) -> None:
        """Each field of a dataclass instance."""
        cls = type(instance)
        kinds = typing.get_type_hints(cls, include_extras=True)
        info = mi.type_info(cls)
        assert isinstance(info, mi.DataclassType)
        for field in info.fields:
            place = _below(path, field.name)
            if _is_not_finite(getattr(instance, field.name)):
                value = getattr(instance, field.name)
                raise self.error(f"{at(self.what, place)} is {value}; it must be a finite number")
            self.typed(self.admitted(getattr(instance, field.name), field.type, place), kinds[field.name], place)

    def admitted(self, value: Any, kind: mi.Type, path: str) -> Any:
        """The value with the objects and texts in it that are of our own classes made into instances of them."""
        if self.python and isinstance(value, str | PurePath):
            check_name(value, at(self.what, path), self.error)
        member = member_for(kind, value)
        if isinstance(member, mi.CustomType | Object):
            return self._one(value, member, kind, path)
        if isinstance(member, mi.DictType) and isinstance(value, Mapping):
            return {key: self.admitted(item, member.value_type, _below(path, key)) for key, item in value.items()}
        if isinstance(value, SEVERAL):
            items = zip(value, item_types(member, len(value)), strict=True)
            return [self.admitted(item, each, f"{path}[{place}]") for place, (item, each) in enumerate(items)]
        return builtin(value) if self.python else value

    def typed(self, value: Any, kind: Any, path: str) -> Any:
        """What msgspec makes of a value that was admitted."""
        try:
            return msgspec.convert(value, kind, dec_hook=_as_it_is)
        except msgspec.ValidationError as problem:
            self._refuse(str(problem), value, kind, path)
        except DominoError as problem:  # of a class that checks itself
            raise self.error(f"{at(self.what, path)}: {problem}") from None

    def _one(self, value: Any, member: Object | mi.CustomType, kind: mi.Type, path: str) -> Any:
        """An instance of the class of `member`, from an instance, or from what a document holds for one."""
        if isinstance(value, member.cls):
            if self.python and isinstance(member, mi.DataclassType):
                self.check(value, path)
            return value
        text = is_text_class(member.cls) or issubclass(member.cls, PurePath)
        if self.python or (text and not isinstance(value, str)):
            self._wrong(path, value, kind)
        if text or isinstance(member, mi.CustomType):
            return self._made(value, member.cls, path)
        return self._object(value, member, path) if isinstance(value, Mapping) else value

    def _object(self, value: Mapping[Any, Any], kind: Object, path: str) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        if isinstance(kind, mi.DataclassType) or kind.forbid_unknown_fields:
            refuse_unknown(value, fields, what=self.what, error=self.error, path=path)
        for name, field in fields.items():
            if field.required and name not in value:
                raise self.error(f"{at(self.what, path)} lacks the key {name!r}")
        admitted = {
            key: self.admitted(item, fields[key].type, _below(path, key)) if key in fields else item
            for key, item in value.items()
        }
        return self.typed(admitted, kind.cls, path)

    def _made(self, value: Any, cls: type, path: str) -> Any:
        read = _reader_of(cls, self.hook)
        try:
            return read(value)
        except (ValueError, TypeError, DominoError) as problem:
            raise self.error(f"{at(self.what, path)}: {problem}") from None

    def _wrong(self, path: str, value: object, kind: mi.Type) -> NoReturn:
        is_, must = ("is", "it must be") if path else ("holds", "it must hold")
        wanted = described(kind, by_class=self.python or self.by_class)
        raise self.error(f"{at(self.what, path)} {is_} {shown(value)}; {meant(value, kind)}{must} {wanted}")

    def _refuse(self, message: str, value: Any, kind: Any, path: str) -> NoReturn:
        """Raise the error for what msgspec said, with the value there and the type's words."""
        match = _MESSAGE.fullmatch(message)
        assert match is not None
        info = mi.type_info(kind)
        for name, index in _STEP.findall(match["path"] or ""):
            if index == "...":  # msgspec doesn't say which key
                raise self.error(f"{at(self.what, path)} has a value that doesn't fit: {match['problem']}")
            info = type_inside(member_for(info, value), name, int(index or 0))
            value = value[name or int(index)]
            path = _below(path, name) if name else f"{path}[{index}]"
        if not match["of_key"] and match["problem"].startswith(_OF_TYPES):
            self._wrong(path, value, info)
        culprit = "a key: " if match["of_key"] else ""
        raise self.error(f"{at(self.what, path)}: {culprit}{match['problem']}")


def _reader_of(cls: type, hook: Hook | None) -> Callable[[Any], Any]:
    if is_text_class(cls):
        return cls.parse  # type: ignore[attr-defined, no-any-return]
    if issubclass(cls, PurePath):
        return lambda text: cls(_path_text(text))
    if hook is None:
        raise TypeError(f"documents can't hold a {cls.__name__}: give a dec_hook")
    return lambda value: hook(cls, value)


def _path_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(f"{shown(text)} is no path of a file")
    return text


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _plain(value: Any) -> Any:
    """A value of Python code as a document would hold it, as far as it is no instance of our own classes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else builtin(value)


def _as_it_is(cls: type, value: Any) -> Any:
    """For classes that msgspec doesn't know: what was admitted is an instance already."""
    if isinstance(value, cls):
        return value
    raise TypeError(f"Expected `{cls.__name__}`, got `{type(value).__name__}`")


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)

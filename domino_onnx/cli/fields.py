"""Command-line options made from the fields of the option groups: names, choices, ranges, defaults and help."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union

import click
import cloup
import msgspec

from domino_onnx.cli.types import BatchAxis, InputShape, NamedChoice, Parsed, Share
from domino_onnx.options import SHARE, ByteSize, CompressOptions, Duration, TimingOptions
from domino_onnx.scheme import NMScheme, SchemePool

__all__ = ["field_option", "given_fields", "given_timing", "taken_fields"]

_JOINT = "__"
"""Between group and field in a parameter's name: click wants identifiers."""
_PARSED = {
    NMScheme: Parsed("N:M", NMScheme.parse),
    SchemePool: Parsed("N:M,N:M", SchemePool.parse),
    ByteSize: Parsed("SIZE", ByteSize.parse),
    Duration: Parsed("TIME", Duration.parse),
}
_RECIPE = typing.get_type_hints(CompressOptions)
_TIMING = "timing"
_GROUPS = {**_RECIPE, _TIMING: TimingOptions}

Decorator = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field of an option group, without the annotations around its type."""

    kind: Any
    metas: tuple[msgspec.Meta, ...]
    default: Any

    @property
    def description(self) -> str:
        return next((meta.description for meta in self.metas if meta.description), "")

    def bound(self, name: str) -> Any:
        """A limit (`ge`, `gt`, `le`, `lt`), None without."""
        return next((value for meta in self.metas if (value := getattr(meta, name)) is not None), None)


def field_option(
    name: str, *declarations: str, metavar: str | None = None, show_default: bool = True, told: str | None = None
) -> Decorator:
    """A decorator that adds the option for a field, named ``group.field``.

    Parameters
    ----------
    declarations
        The option's names, for instance ``"--finetune/--no-finetune"``.
    metavar
        What the help shows in place of the value.
    told
        What it does in this command, where that isn't what the field's description says.
    """
    field = _field(name)
    shown = _shown(field.default) if show_default else None
    return cloup.option(
        *declarations,
        name.replace(".", _JOINT),
        help=(told or field.description) + (f" [default: {shown}]" if shown else ""),
        metavar=metavar,
        **_kind(field),
    )


def given_fields(context: click.Context) -> dict[str, Any]:
    """The values that the command line gave, by a recipe's ``group.field``; defaults are left to the option groups."""
    return {name: value for name, value in _given(context).items() if name.split(".")[0] in _RECIPE}


def taken_fields(context: click.Context) -> set[str]:
    """Those that the command has an option for."""
    return {name.replace(_JOINT, ".") for name in context.params if _JOINT in name}


def given_timing(context: click.Context) -> TimingOptions:
    """How the command line says that models are timed."""
    fields = {name.partition(".")[::2]: value for name, value in _given(context).items()}
    return TimingOptions(**{field: value for (group, field), value in fields.items() if group == _TIMING})


def _given(context: click.Context) -> dict[str, Any]:
    given = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if _JOINT in name and source not in (None, click.core.ParameterSource.DEFAULT):
            named = isinstance(value, tuple) and all(isinstance(each, tuple) for each in value) and value
            given[name.replace(_JOINT, ".")] = dict(value) if named else value
    return given


def _field(name: str) -> _Field:
    group, attribute = name.split(".")
    kind = _GROUPS[group]
    field = next(field for field in dataclasses.fields(kind) if field.name == attribute)
    metas, inner = _stripped(typing.get_type_hints(kind, include_extras=True)[attribute])
    return _Field(kind=inner, metas=metas, default=field.default)


def _stripped(annotation: Any) -> tuple[tuple[msgspec.Meta, ...], Any]:
    """The metadata of a type and the type itself, without `Annotated` and ``| None``."""
    if typing.get_origin(annotation) is typing.Annotated:
        outer = tuple(meta for meta in annotation.__metadata__ if isinstance(meta, msgspec.Meta))
        metas, inner = _stripped(annotation.__origin__)
        return (*outer, *metas), inner
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return _stripped(next(each for each in typing.get_args(annotation) if each is not type(None)))
    return (), annotation


def _kind(field: _Field) -> dict[str, Any]:
    """What click has to know of the values."""
    kind, origin = field.kind, typing.get_origin(field.kind)
    if kind is bool:
        return {"is_flag": True, "default": None}
    if origin is tuple:
        metas, item = _stripped(typing.get_args(kind)[0])
        return {"type": _single(_Field(kind=item, metas=metas, default=None)), "multiple": True}
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {"type": _named(kind), "multiple": True}
    return {"type": _single(field)}


def _single(field: _Field) -> click.ParamType:  # type: ignore[type-arg]
    """The type of one value."""
    kind = field.kind
    if typing.get_origin(kind) is Literal:
        return click.Choice(typing.get_args(kind))
    if kind in _PARSED:
        return _PARSED[kind]
    if any((meta.extra or {}).get(SHARE) for meta in field.metas):
        return Share()
    if kind is Path:
        return click.Path(path_type=Path)
    return click.STRING if kind is str else _range(field)


def _named(mapping: Any) -> click.ParamType:  # type: ignore[type-arg]
    """The type of a name with a value: one of a few words, the sizes of a shape, or an axis."""
    value = typing.get_args(mapping)[1]
    if typing.get_origin(value) is Literal:
        return NamedChoice(typing.get_args(value))
    return InputShape() if typing.get_origin(value) is tuple else BatchAxis()


def _range(field: _Field) -> click.ParamType:  # type: ignore[type-arg]
    if not field.metas or all(field.bound(name) is None for name in ("ge", "gt", "le", "lt")):
        return click.INT if field.kind is int else click.FLOAT
    low, high = field.bound("gt"), field.bound("lt")
    limits = {
        "min": field.bound("ge") if low is None else low,
        "max": field.bound("le") if high is None else high,
        "min_open": low is not None,
        "max_open": high is not None,
    }
    return click.IntRange(**limits) if field.kind is int else click.FloatRange(**limits)


def _shown(default: Any) -> str | None:
    if default in (None, (), dataclasses.MISSING) or isinstance(default, bool):
        return None
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)

"""How values on the command line are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import click

from domino_onnx.errors import OptionError, PlanError
from domino_onnx.options import parse_share
from domino_onnx.scheme import share_hint

__all__ = ["BatchAxis", "InputShape", "NamedChoice", "Parsed", "Share"]


class InputShape(click.ParamType):  # type: ignore[type-arg]  # generic only in click 8.4 and later
    """``NAME:1,3,224,224``."""

    name = "NAME:DIMS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Name and sizes; click's usage error if the text is neither."""
        if isinstance(value, tuple):
            return value
        name, _, dims = str(value).rpartition(":")
        try:
            sizes = tuple(int(size) for size in dims.split(",")) if dims else ()
        except ValueError:
            sizes = (0,)
        if not name or any(size < 1 for size in sizes):
            self.fail(f"{value!r} is not NAME:SIZES, for instance input:1,3,224,224", param, ctx)
        return name, sizes


class BatchAxis(click.ParamType):  # type: ignore[type-arg]  # as above
    """``NAME=1``, or ``NAME=none``."""

    name = "NAME=AXIS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | Literal["none"]]:
        """Name and axis; click's usage error if the text is neither."""
        if isinstance(value, tuple):
            return value
        name, _, axis = str(value).rpartition("=")
        if name and axis == "none":
            return name, "none"
        if not name or not (axis.isascii() and axis.isdecimal()):
            self.fail(f"{value!r} is not NAME=AXIS, for instance state=1 or mask=none", param, ctx)
        return name, int(axis)


class NamedChoice(click.ParamType):  # type: ignore[type-arg]  # as above
    """``NAME=CHOICE``."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.name = "NAME=CHOICE"
        self._choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name and choice; click's usage error if the text is neither."""
        if isinstance(value, tuple):
            return value
        name, _, choice = str(value).rpartition("=")
        if not name or choice not in self._choices:
            self.fail(f"{value!r} is not NAME=KIND, where KIND is one of {', '.join(self._choices)}", param, ctx)
        return name, choice


class Parsed(click.ParamType):  # type: ignore[type-arg]  # as above
    """A value in the library's own notation; where that is wrong, its error becomes click's usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that the text means."""
        try:
            return self._parse(value)
        except (PlanError, OptionError) as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType):  # type: ignore[type-arg]  # as above
    """``0.5``, or ``50%``; from 0 to 1 where that is `closed`, else between them."""

    name = "S"

    def __init__(self, *, closed: bool = True) -> None:
        self._closed = closed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share; click's usage error if the text is none."""
        try:
            share = value if isinstance(value, float) else parse_share(value)
        except OptionError as error:
            self.fail(str(error), param, ctx)
        if not (0 <= share <= 1 if self._closed else 0 < share < 1):
            self.fail(f"{value} is not between 0 and 1: {share_hint(share)}", param, ctx)
        return share

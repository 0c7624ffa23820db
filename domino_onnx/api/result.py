"""What all results can do: a line, a summary for people and for notebooks, and a document."""

from __future__ import annotations

import abc
import dataclasses
import html
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from rich.console import RenderableType

from domino_onnx.api.words import in_python, placed
from domino_onnx.report.console import PlainConsole

__all__ = ["Places", "Result"]

T = TypeVar("T")
Places = Mapping[Path, str]
_WIDTH = 120


class Result(abc.ABC, Generic[T]):
    """What all results can do."""

    _shown: ClassVar[tuple[str, ...]]
    """The properties that `repr` shows."""

    def __init__(self, found: T, places: Places) -> None:
        self._found = found
        self._places = places

    @abc.abstractmethod
    def _document(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _view(self) -> RenderableType: ...

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values: what the command prints with ``--json``."""
        document: dict[str, Any] = placed(self._document(), self._places)
        return document

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self._shown}
        shown = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
        return f"{type(self).__name__}({shown})"

    def __str__(self) -> str:
        """The summary that the command prints."""
        console = PlainConsole(file=io.StringIO(), width=_WIDTH, no_color=True)
        with console.capture() as captured:
            console.print(self._view())
        return "\n".join(line.rstrip() for line in self._placed(captured.get()).splitlines())

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _told(self) -> T:
        """What is shown: with names for paths that the caller never gave, which are long."""
        return cast(T, _named(self._found, self._places))

    def _page(self, text: str) -> str:
        """A report's page: files that only this process sees have names without their folders."""
        for path in sorted(self._places, key=lambda path: -len(str(path))):
            text = text.replace(str(path), path.name).replace(f"{path.parent}{os.sep}", "")
        return text

    def _placed(self, text: str) -> str:
        return in_python(text, {path: f"<{name}>" for path, name in self._places.items()})

    def _in_words(self, messages: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(in_python(message, self._places) for message in messages)


def _named(found: Any, places: Places) -> Any:
    """The same with names for its paths, and for those of a second model and of rows in it."""
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    named: dict[str, Any] = {
        name: Path(f"<{places[fields[name]]}>") for name in ("model", "output") if fields.get(name) in places
    }
    second = fields.get("deployed")
    if dataclasses.is_dataclass(second):
        named["deployed"] = _named(second, places)
    if "rows" in fields:
        named["rows"] = tuple(_named(row, places) for row in fields["rows"])
    return dataclasses.replace(found, **named)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)

"""What all results can do: a line, a summary for people and for notebooks, and a document."""

from __future__ import annotations

import abc
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from rich.console import Console, RenderableType

from domino_onnx.api.words import in_python, placed

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
        console = Console(file=io.StringIO(), width=_WIDTH, no_color=True)
        with console.capture() as captured:
            console.print(self._view())
        return "\n".join(line.rstrip() for line in self._placed(captured.get()).splitlines())

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        console = Console(file=io.StringIO(), width=_WIDTH, record=True, force_jupyter=False)
        console.print(self._view())
        return self._placed(console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))

    def _placed(self, text: str) -> str:
        return in_python(text, {path: f"<{name}>" for path, name in self._places.items()})

    def _in_words(self, messages: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(in_python(message, self._places) for message in messages)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)

"""The console that every view is printed on: text from files and users is shown, and never obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from domino_onnx.report.text import printable_lines

__all__ = ["PlainConsole"]


class PlainConsole(Console):
    """A console to which no text is markup, an emoji's name, or a code that changes the terminal.

    Parameters
    ----------
    settings
        Those of rich's `Console`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What the view is made of, with control characters escaped; codes of rich's own are left."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable_lines(segment.text))

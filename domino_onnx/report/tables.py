"""Parts that several views in a terminal have: tables of weights, and what stays dense."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from domino_onnx.report.text import counted, millions, printable, printable_reason, scheme_name, shape
from domino_onnx.scheme import NMScheme, Skip

__all__ = ["FigureTable", "bar", "skip_lines", "table", "weight_row"]

_FULL_BAR = 16
_LEFT = ("op", "shape", "scheme", "kept", "groups along", "may get", "holds", "type", "2:4", "builder", "stored as")
"""Columns that are neither names nor words, and no numbers either."""
_APART = 2
"""Blanks between columns."""
_NARROWEST = 16
"""Cells that a column of names or words has at least, where it needs them."""


class FigureTable:
    """Rows of which no figure is ever cut: words are folded, and where that is not enough, each row is a paragraph.

    Parameters
    ----------
    columns
        Their heads.
    words
        Those of names or sentences, which give way where the table is too wide.
    longest_name
        Names in the first column that are longer, in characters, are whole and above their rows; None folds them.
    """

    def __init__(self, *columns: str, words: Collection[str], longest_name: int | None = None) -> None:
        self._columns = columns
        self._words = frozenset(words)
        self._longest_name = longest_name
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row: a cell for each column."""
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table if the console is wide enough; else a paragraph a row."""
        widths = [
            max(map(cell_len, (head, *(cell.plain for cell in cells))))
            for head, *cells in zip(self._columns, *self._rows, strict=True)
        ]
        is_above = self._longest_name is not None and widths[0] > self._longest_name
        start = 1 if is_above else 0
        least = [
            min(width, _NARROWEST) if head in self._words else width
            for head, width in zip(self._columns, widths, strict=True)
        ][start:]
        if sum(least) + _APART * (len(least) - 1) > options.max_width:
            for cells in self._rows:
                yield from self._paragraph(cells, options.max_width)
        elif is_above:
            yield self._made(start, widths, has_head=True)
            for cells in self._rows:
                yield _folding(cells[0])
                line = self._made(start, widths, has_head=False)
                line.add_row(*cells[start:])
                yield line
        else:
            made = self._made(start, widths, has_head=True)
            for cells in self._rows:
                made.add_row(*cells)
            yield made

    def _made(self, start: int, widths: Sequence[int], *, has_head: bool) -> Table:
        """An empty table of the columns from `start` on; all that are made have the figures at the same places."""
        made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _APART, 0, 0), show_header=has_head)
        for name, width in itertools.islice(zip(self._columns, widths, strict=True), start, None):
            is_words = name in self._words
            left = is_words or name in _LEFT
            fixed = None if is_words else width
            made.add_column(
                name, justify="left" if left else "right", no_wrap=not is_words, overflow="fold", min_width=fixed
            )
        return made

    def _paragraph(self, cells: Sequence[Text], width: int) -> RenderResult:
        """A row where the console is too narrow for a table: its name, then each figure behind its head."""
        told = list(zip(self._columns, cells, strict=True))
        if self._columns[0] in self._words:
            yield _folding(told.pop(0)[1])
        line = Text()
        for head, cell in told:
            part = Text(" " * _APART).append(f"{head} ", style="dim").append_text(_folding(cell))
            if line and line.cell_len + part.cell_len > width:
                yield line
                line = Text()
            line.append_text(part)
        yield line


def _folding(cell: Text) -> Text:
    """The whole of it, on as many lines as it takes."""
    whole = cell.copy()
    whole.overflow, whole.no_wrap = "fold", False
    return whole


def table(*columns: str) -> FigureTable:
    """A table whose first column, of names, and sentences give way where it is too wide; figures never do."""
    return FigureTable(*columns, words={columns[0], "verdict", "why"})


def bar(scheme: NMScheme) -> Text:
    """The share that a scheme keeps."""
    kept = max(round(float(scheme.density) * _FULL_BAR), 1)
    return Text("█" * kept, style="cyan").append("░" * (_FULL_BAR - kept), style="dim")


def weight_row(
    into: FigureTable, label: str, op: str, sizes: tuple[int, ...], scheme: NMScheme, params: int, macs: int | None
) -> None:
    """Add a row for a weight and its scheme."""
    kept = scheme_name(scheme), bar(scheme)
    into.add_row(Text(printable(label)), op, shape(sizes), *kept, millions(params), millions(macs))


def skip_lines(skips: Sequence[Skip]) -> list[RenderableType]:
    """One line a reason, with how many weights it keeps dense."""
    lines: list[RenderableType] = []
    for reason, _ in Counter(skip.reason for skip in skips).most_common():
        names = counted([skip.label for skip in skips if skip.reason == reason])
        lines.append(Text(f"left dense: {names}: {printable_reason(reason)}", style="dim"))
    return lines

"""Parts that several views in a terminal have: tables of weights, and what stays dense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.report.text import counted, millions, printable, scheme_name, shape
from domino_onnx.scheme import NMScheme, Skip

__all__ = ["bar", "skip_lines", "table", "weight_row"]

_FULL_BAR = 16


def table(*columns: str) -> Table:
    """A table whose first column, of names, and verdicts give way where it is too wide; numbers never do."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("params", "MACs", "zeros", "weights", "share")
        gives_way = column in (columns[0], "verdict")
        made.add_column(column, justify="right" if right else "left", no_wrap=not gives_way, overflow="fold")
    return made


def bar(scheme: NMScheme) -> Text:
    """The share that a scheme keeps."""
    kept = max(round(float(scheme.density) * _FULL_BAR), 1)
    return Text("█" * kept, style="cyan").append("░" * (_FULL_BAR - kept), style="dim")


def weight_row(
    into: Table, label: str, op: str, sizes: tuple[int, ...], scheme: NMScheme, params: int, macs: int | None
) -> None:
    """Add a row for a weight and its scheme."""
    kept = scheme_name(scheme), bar(scheme)
    into.add_row(Text(printable(label)), op, shape(sizes), *kept, millions(params), millions(macs))


def skip_lines(skips: Sequence[Skip]) -> list[RenderableType]:
    """One line a reason, with how many weights it keeps dense."""
    lines: list[RenderableType] = []
    for reason, _ in Counter(skip.reason for skip in skips).most_common():
        names = counted([skip.label for skip in skips if skip.reason == reason])
        lines.append(Text(f"left dense: {names}: {printable(reason, 160)}", style="dim"))
    return lines

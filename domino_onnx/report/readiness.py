"""Whether a model can be finetuned, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.plurals import quantity
from domino_onnx.report.documents import Document
from domino_onnx.report.text import printable

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness  # which needs torch; a report doesn't

__all__ = ["readiness_document", "readiness_view"]


def readiness_view(readiness: Readiness) -> RenderableType:
    """Whether the model can be finetuned, question by question."""
    rows = Table.grid(padding=(0, 2))
    on = "your data" if readiness.inputs == "data" else "random inputs (--data FILE takes yours)"

    def row(name: str, value: str, good: bool | None) -> None:
        rows.add_row(name, Text(printable(value, 600), style={True: "green", False: "red", None: "yellow"}[good]))

    row("torch", "has all operators" if readiness.supported else "can't build the model", readiness.supported)
    if readiness.supported:
        row("parity", _parity(readiness, on), readiness.parity_ok)
        reached = len(readiness.trainable)
        row("gradients", f"reach {reached} of {quantity(readiness.sites, 'site')} on {on}", reached == readiness.sites)
    answer, good = _answer(readiness)
    row("finetuning", answer if readiness.reason is None else f"{answer}: {readiness.reason}", good)
    return rows


def _parity(readiness: Readiness, on: str) -> str:
    if readiness.parity_ok is None:
        return "with ONNX Runtime not tried"
    if readiness.max_abs is None:
        return "torch fails where ONNX Runtime doesn't"
    verb = "reproduces" if readiness.parity_ok else "doesn't reproduce"
    return f"torch {verb} ONNX Runtime on {on}: differs by at most {readiness.max_abs:.2g}"


def _answer(readiness: Readiness) -> tuple[str, bool | None]:
    if not readiness.supported or readiness.parity_ok is False:
        return "not possible", False
    if readiness.parity_ok is None:
        return "unknown", None
    if not readiness.trainable:
        return "nothing to train", False
    if len(readiness.trainable) == readiness.sites:
        return "possible", True
    return f"possible in part, {len(readiness.trainable)} of {quantity(readiness.sites, 'site')}", None


def readiness_document(readiness: Readiness) -> Document:
    """The same for scripts."""
    return {
        "supported": readiness.supported,
        "missing": list(readiness.missing),
        "inputs": readiness.inputs,
        "parity_ok": readiness.parity_ok,
        "max_abs": readiness.max_abs,
        "max_rel": readiness.max_rel,
        "worst": readiness.worst,
        "trainable_sites": len(readiness.trainable),
        "sites": readiness.sites,
        "reason": readiness.reason,
    }

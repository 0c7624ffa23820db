"""What a file became in another form, for people and for scripts."""

from __future__ import annotations

import dataclasses

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.percentage import percent
from domino_onnx.report.documents import Document
from domino_onnx.report.results import ConvertResult
from domino_onnx.report.tables import table
from domino_onnx.report.text import printable, printable_reason

__all__ = ["convert_document", "convert_view"]


def convert_view(result: ConvertResult) -> RenderableType:
    """How each weight is stored now, and what that saves."""
    rows = table("weight", "stored as", "dense bytes", "bytes", "why")
    for weight in result.weight_forms:
        sizes = f"{weight.dense_bytes:,}", f"{weight.stored_bytes:,}"
        rows.add_row(Text(printable(weight.name)), weight.kind, *sizes, Text(printable_reason(weight.reason or "")))
    before, after = result.bytes_before, result.bytes_after
    saved = f"{before:,} → {after:,} bytes ({percent(after / before, 1)})"
    changed = [f"{result.before} → {result.form}"] if result.before != result.form else []
    changed += [kind for kind in dataclasses.astuple(result.conversion) if kind != "keep"]
    written = f"{printable(str(result.output), 200)}: {', '.join(changed or [result.form])}, {saved}"
    return Group(*([rows] if result.weight_forms else []), Text(written, style="bold"))


def convert_document(result: ConvertResult) -> Document:
    """What `convert` says with ``--json``."""
    return {
        "model": str(result.model),
        "output": str(result.output),
        "before": result.before,
        "format": result.form,
        "precision": result.conversion.precision,
        "weight_type": result.conversion.weights,
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "weights": [dataclasses.asdict(weight) for weight in result.weight_forms],
        "warnings": list(result.warnings),
    }

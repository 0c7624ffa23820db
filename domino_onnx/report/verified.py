"""Whether a file is what its manifest says, for people and for scripts."""

from __future__ import annotations

import dataclasses

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.evaluate import Verdict
from domino_onnx.plurals import quantity
from domino_onnx.report.documents import Document
from domino_onnx.report.tables import table
from domino_onnx.report.text import printable, printable_reason

__all__ = ["verify_document", "verify_view"]


def verify_view(verdict: Verdict) -> RenderableType:
    """What holds and what doesn't."""
    if verdict.manifest is None:
        return _of_the_file(verdict)
    rows = table("weight (node)", "scheme", "zeros", "verdict")
    for finding in verdict.findings:
        rows.add_row(
            Text(printable(finding.label)),
            finding.scheme,
            str(finding.zeros),
            Text(printable_reason(finding.problem or "holds"), style="red" if finding.problem else "green"),
        )
    good = sum(finding.problem is None for finding in verdict.findings)
    style = "bold green" if verdict.holds else "bold red"
    suited = "" if verdict.manifest.target == "generic" else f", for the target {printable(verdict.manifest.target)}"
    said = Text(
        f"{good} of {quantity(len(verdict.findings), 'weight')} hold what the manifest says{suited}", style=style
    )
    return Group(rows, *([_of_the_file(verdict)] if verdict.of_the_file else []), said)


def _of_the_file(verdict: Verdict) -> Text:
    return Text("\n".join(printable_reason(problem) for problem in verdict.of_the_file), style="red")


def verify_document(verdict: Verdict) -> Document:
    """What `verify` says with ``--json``."""
    return {
        "holds": verdict.holds,
        "tool": verdict.manifest.tool if verdict.manifest else None,
        "strategy": verdict.manifest.strategy if verdict.manifest else None,
        "target": verdict.manifest.target if verdict.manifest else None,
        "weights": [dataclasses.asdict(finding) for finding in verdict.findings],
        "problems": list(verdict.problems),
    }

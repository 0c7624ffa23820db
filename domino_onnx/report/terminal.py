"""Results as a person reads them in a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.evaluate import Verdict
from domino_onnx.report.forecast import forecast_lines
from domino_onnx.report.results import ConvertResult, InspectResult, OperatorShare, SearchResult
from domino_onnx.report.tables import skip_lines, table, weight_row
from domino_onnx.report.text import millions, percent, printable, shape
from domino_onnx.scheme import NMScheme

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness

__all__ = ["convert_view", "inspect_view", "search_view", "verify_view"]

_MOST_PORTS = 12
_WORTH_NAMING = 0.005
_ALL = 0.999


def inspect_view(result: InspectResult) -> RenderableType:
    """Sites and skips of a model."""
    inventory = result.inventory
    rows = table("weight (node)", "op", "shape", "groups along", "may get", "params", "MACs", "zeros", "holds")
    for site in inventory.sites:
        rows.add_row(
            Text(printable(site.label)),
            site.op,
            shape(site.layout.shape),
            f"axis {site.layout.axis} ({site.layout.reduction})",
            _choices(site.schemes),
            millions(site.params),
            millions(site.macs),
            percent(site.zeros / site.params),
            str(site.holds or "dense"),
        )
    head = Text(
        f"{printable(str(result.file.path), 200)}: opset {result.file.opset}, {len(inventory.sites)} sites, "
        f"{millions(inventory.params)} weights, {millions(inventory.macs)} MACs, "
        f"{percent(inventory.sparsity({}))} zeros"
    )
    notes = [Text(f"note: {printable(note, 400)}") for note in inventory.notes]
    made = [Text(f"compressed by {printable(result.manifest.tool)}")] if result.manifest else []
    if result.file.form != "dense":
        made.append(Text(f"stored {result.file.form}"))
    bridge = [] if result.bridge is None else [_readiness(result.bridge)]
    sites = rows if inventory.sites else Text("no weight of Conv, ConvTranspose, Gemm or MatMul can be pruned")
    whole = _file(result)
    return Group(head, *made, *notes, *whole, sites, *skip_lines(inventory.skips), *_cost(result), *bridge)


def _file(result: InspectResult) -> list[RenderableType]:
    """What goes in and comes out, and what the file is made of."""
    rows = Table.grid(padding=(0, 2))
    for name, ports in (("input", result.inputs), ("output", result.outputs)):
        for port in ports[:_MOST_PORTS]:
            rows.add_row(name, Text(str(port)))
        if len(ports) > _MOST_PORTS:
            rows.add_row("", f"and {len(ports) - _MOST_PORTS} more {name}s")
    named = [share for share in result.shares if share.share >= _WORTH_NAMING]
    parts = [f"{printable(share.op)} {percent(share.share)}{_of_it(share)}" for share in named]
    if parts:
        rows.add_row("file", Text(", ".join(parts)))
    return [rows]


def _of_it(share: OperatorShare) -> str:
    if share.prunable > _ALL * share.share:
        return " (prunable)"
    return f" ({percent(share.prunable)} prunable)" if share.prunable >= _WORTH_NAMING else ""


def _cost(result: InspectResult) -> list[RenderableType]:
    """What a default run would cost."""
    if result.forecast is None:
        unknown = result.inventory.macs is None and result.inventory.sites
        return [Text("what a run costs is unknown without shapes: give --input-shape or --data")] if unknown else []
    time, space, *_ = forecast_lines(result.forecast)
    return [Text(f"compress with {result.forecast_samples} samples takes {time}"), Text(f"it {space}")]


def search_view(result: SearchResult) -> RenderableType:
    """A plan and what it comes to."""
    plan, inventory = result.plan, result.inventory
    rows = table("weight (node)", "op", "shape", "scheme", "kept", "params", "MACs")
    for site in inventory.sites:
        scheme = plan.schemes.get(site.key, site.schemes[0])
        weight_row(rows, site.label, site.op, site.layout.shape, scheme, site.params, site.macs)
    saved = inventory.flops_saved(plan.schemes)
    planned = f"{percent(inventory.sparsity(plan.schemes), 2)} zeros planned"
    if saved is not None:
        planned += f", {percent(saved, 2)} of the MACs saved"
    expected = [Text(f"expected: {result.prediction.in_words()}")] if result.prediction else []
    return Group(rows, *skip_lines(inventory.skips), Text(f"{plan.strategy}: {planned}", style="bold"), *expected)


def convert_view(result: ConvertResult) -> RenderableType:
    """How each weight is stored now, and what that saves."""
    rows = table("weight", "stored as", "dense bytes", "bytes", "why")
    for weight in result.weight_forms:
        sizes = f"{weight.dense_bytes:,}", f"{weight.stored_bytes:,}"
        rows.add_row(Text(printable(weight.name)), weight.kind, *sizes, Text(printable(weight.reason or "", 100)))
    before, after = result.bytes_before, result.bytes_after
    saved = f"{before:,} → {after:,} bytes ({percent(after / before, 1)})"
    converted = "".join(f", {kind}" for kind in dataclasses.astuple(result.conversion) if kind != "keep")
    written = f"{printable(str(result.output), 200)}: {result.before} → {result.form}{converted}, {saved}"
    return Group(*([rows] if result.weight_forms else []), Text(written, style="bold"))


def verify_view(verdict: Verdict) -> RenderableType:
    """What holds and what doesn't."""
    if verdict.manifest is None:
        return Text(verdict.problems[0], style="red")
    rows = table("weight (node)", "scheme", "zeros", "verdict")
    for finding in verdict.findings:
        rows.add_row(
            Text(printable(finding.label)),
            finding.scheme,
            str(finding.zeros),
            Text(finding.problem or "holds", style="red" if finding.problem else "green"),
        )
    good = sum(finding.problem is None for finding in verdict.findings)
    style = "bold green" if verdict.holds else "bold red"
    suited = "" if verdict.manifest.target == "generic" else f", for the target {printable(verdict.manifest.target)}"
    said = Text(f"{good} of {len(verdict.findings)} weights hold what the manifest says{suited}", style=style)
    return Group(rows, said)


def _choices(schemes: Iterable[NMScheme]) -> str:
    """What isn't dense, by M: {8,4,2,1}:16, or 2:4 {2,1}:16."""
    by_m: dict[int, list[str]] = {}
    for scheme in schemes:
        if not scheme.is_dense:
            by_m.setdefault(scheme.m, []).append(str(scheme.n))
    return " ".join(f"{{{','.join(kept)}}}:{m}" if len(kept) > 1 else f"{kept[0]}:{m}" for m, kept in by_m.items())


def _readiness(readiness: Readiness) -> RenderableType:
    """Whether the model can be finetuned, question by question."""
    rows = Table.grid(padding=(0, 2))
    on = "your data" if readiness.inputs == "data" else "random inputs (--data FILE takes yours)"

    def row(name: str, value: str, good: bool | None) -> None:
        rows.add_row(name, Text(printable(value, 600), style={True: "green", False: "red", None: "yellow"}[good]))

    row("torch", "has all operators" if readiness.supported else "can't build the model", readiness.supported)
    if readiness.supported:
        row("parity", _parity(readiness, on), readiness.parity_ok)
        reached = len(readiness.trainable)
        row("gradients", f"reach {reached} of {readiness.sites} sites on {on}", reached == readiness.sites)
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
    return ("possible", True) if readiness.trainable else ("nothing to train", False)

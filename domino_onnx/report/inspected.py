"""What is in a model, for people and for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.report.documents import Document, skip_document
from domino_onnx.report.forecast import forecast_document, forecast_lines
from domino_onnx.report.readiness import readiness_document, readiness_view
from domino_onnx.report.results import (
    InspectResult,
    OperatorShare,
    Port,
)
from domino_onnx.report.tables import skip_lines, table
from domino_onnx.report.text import millions, printable, printable_reason, shape
from domino_onnx.scheme import NO_SHAPES_IN_FUNCTIONS, NMScheme, Site

__all__ = ["inspect_document", "inspect_view"]


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
        f"{printable(str(result.file.path), 200)}: opset {result.file.opset}, "
        f"{quantity(len(inventory.sites), 'site')}, "
        f"{millions(inventory.params)} weights, {millions(inventory.macs)} MACs, "
        f"{percent(inventory.sparsity({}))} zeros"
    )
    notes = [Text(f"note: {printable_reason(note)}") for note in inventory.notes]
    made = [Text(f"compressed by {printable(result.manifest.tool)}")] if result.manifest else []
    if result.is_deployed:
        made.append(Text("deployed for the CPU: operators of our own hold weights that aren't listed here"))
    if result.file.form != "dense":
        made.append(Text(f"stored {result.file.form}"))
    bridge = [] if result.bridge is None else [readiness_view(result.bridge)]
    sites = rows if inventory.sites else Text("no weight of Conv, ConvTranspose, Gemm or MatMul can be pruned")
    whole = _file(result)
    return Group(head, *made, *notes, *whole, sites, *skip_lines(inventory.skips), *_cost(result), *bridge)


def inspect_document(result: InspectResult) -> Document:
    """What `inspect` says with ``--json``."""
    inventory = result.inventory
    document: Document = {
        "model": str(result.file.path),
        "sha256": result.file.sha256,
        "ir_version": result.file.proto.ir_version,
        "opset": result.file.opset,
        "format": result.file.form,
        "inputs": [_port(port) for port in result.inputs],
        "outputs": [_port(port) for port in result.outputs],
        "shares": [dataclasses.asdict(share) for share in result.shares],
        "forecast": forecast_document(result.forecast),
        "params": inventory.params,
        "macs": inventory.macs,
        "sparsity": inventory.sparsity({}),
        "sites": [_site(site) for site in inventory.sites],
        "skipped": [skip_document(skip) for skip in inventory.skips],
        "notes": list(inventory.notes),
        "deployed": result.is_deployed,
        "compressed_by": result.manifest.tool if result.manifest else None,
    }
    return document if result.bridge is None else {**document, "bridge": readiness_document(result.bridge)}


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
        if result.inventory.macs is not None or not result.inventory.sites:
            return []
        hidden = any(weight.macs is None and weight.in_function for weight in result.inventory.counted)
        why = f": {NO_SHAPES_IN_FUNCTIONS}" if hidden else " without shapes: give --input-shape or --data"
        return [Text(f"what a run costs is unknown{why}")]
    time, space, *_ = forecast_lines(result.forecast)
    return [
        Text(f"compress with {quantity(result.forecast_samples, 'sample')} of your own takes {time}"),
        Text(f"it {space}"),
    ]


def _choices(schemes: Iterable[NMScheme]) -> str:
    """What isn't dense, by M: {8,4,2,1}:16, or 2:4 {2,1}:16."""
    by_m: dict[int, list[str]] = {}
    for scheme in schemes:
        if not scheme.is_dense:
            by_m.setdefault(scheme.m, []).append(str(scheme.n))
    return " ".join(f"{{{','.join(kept)}}}:{m}" if len(kept) > 1 else f"{kept[0]}:{m}" for m, kept in by_m.items())


def _port(port: Port) -> Document:
    """An input or output; axes are numbers, names, or null."""
    axes = None if port.axes is None else [int(axis) if axis.isdecimal() else axis for axis in port.axes]
    return {"name": port.name, "dtype": port.dtype, "shape": axes}


def _site(site: Site) -> Document:
    return {
        "name": site.name,
        "weight": site.key.name,
        "scope": list(site.key.scope),
        "op": site.op,
        "shape": list(site.layout.shape),
        "dtype": site.dtype,
        "axis": site.layout.axis,
        "reduction": site.layout.reduction,
        "params": site.params,
        "macs": site.macs,
        "zeros": site.zeros,
        "holds": str(site.holds) if site.holds else None,
        "schemes": [str(scheme) for scheme in site.schemes],
        "consumers": list(site.consumers),
    }

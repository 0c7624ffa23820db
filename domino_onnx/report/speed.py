"""What `deploy` and `benchmark` measured, for people and for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.report.results import BenchmarkResult, BenchmarkRow, DeployedLayer, DeployResult
from domino_onnx.report.tables import FigureTable
from domino_onnx.report.text import counted, file_size, printable, printable_reason, shape
from domino_onnx.runtime import Profile

__all__ = [
    "benchmark_document",
    "benchmark_view",
    "closeness",
    "deploy_document",
    "deploy_summary",
    "deploy_view",
    "milliseconds",
    "on_threads",
    "skipping",
    "truth_in_words",
]

_MOST_OPERATORS = 12
_LAYER_COLUMNS = ("op", "shape", "zeros", "dense ms", "float32 ms", "int8 ms", "chosen", "why")
_NAME_COLUMN, _LONGEST_NAME = 28, 500
"""The longest names in a column of their own, and the longest that are printed whole, in characters."""


def deploy_view(result: DeployResult) -> RenderableType:
    """A row a layer that was timed, a line for what wasn't and why, and what the whole model gained."""
    reasons: dict[str, list[str]] = {}
    for name, _, reason in result.kept:
        reasons.setdefault(reason, []).append(name)
    left = [
        Text(f"dense: {counted(names)}: {printable_reason(reason)}", style="dim") for reason, names in reasons.items()
    ]
    notes = [Text(note, style="dim") for note in (result.bits, truth_in_words(result)) if note]
    said = [*left, *notes, Text(deploy_summary(result), style="bold")]
    listed = _listed("layer", [layer.name for layer in result.layers], _LAYER_COLUMNS, map(_cells, result.layers))
    return Group(*([listed] if result.layers else []), *said)


def deploy_document(result: DeployResult) -> dict[str, Any]:
    """What `deploy` says with ``--json``; all times in seconds."""
    return {
        "model": str(result.model),
        "output": str(result.output),
        "threads": result.threads,
        "dense_seconds": result.dense,
        "deployed_seconds": result.deployed,
        "speedup": result.dense / result.deployed,
        "largest_error": result.error,
        "largest_error_of_model": result.error_of_read,
        "precision": result.precision,
        "divergence": result.divergence,
        "judges": result.judges,
        "int8": result.bits,
        "activations": result.activations,
        "attentions": result.attentions,
        "bytes": result.nbytes,
        "layers": [{**dataclasses.asdict(layer), "shape": list(layer.shape)} for layer in result.layers],
        "dense": [{"name": name, "op": op, "reason": reason} for name, op, reason in result.kept],
        "warnings": list(result.warnings),
    }


def benchmark_view(result: BenchmarkResult) -> RenderableType:
    """A row a model, for each number of threads and batch."""
    columns = ("threads", "batch", "median ms", "quartiles ms", "samples/s", "speed", "load ms", "runs")
    rows = (
        (
            str(row.threads or "all"),
            str(row.batch),
            milliseconds(row.median),
            f"{milliseconds(row.low)} to {milliseconds(row.high)}",
            f"{row.batch / row.median:,.1f}",
            f"{row.speedup:.2f}x",
            f"{row.load * 1e3:.0f}",
            str(row.rounds),
        )
        for row in result.rows
    )
    listed = _listed("model", [str(row.model) for row in result.rows], columns, ([*map(Text, row)] for row in rows))
    profiles = [_profile_view(row, row.profile) for row in result.rows if row.profile is not None]
    return Group(listed, *profiles)


def _profile_view(row: BenchmarkRow, profile: Profile) -> RenderableType:
    """The operators of a model that take most of its time."""
    table = FigureTable("operator", "nodes", "ms", "share", words=("operator",))
    total = sum(each.seconds for each in profile.operators)
    for each in profile.operators[:_MOST_OPERATORS]:
        table.add_row(each.op, str(each.nodes), milliseconds(each.seconds), percent(each.seconds / total, 1))
    others = profile.operators[_MOST_OPERATORS:]
    if others:
        left = sum(each.seconds for each in others)
        nodes = str(sum(each.nodes for each in others))
        table.add_row(f"{len(others)} more", nodes, milliseconds(left), percent(left / total, 1))
    memory = "" if profile.memory is None else f", {profile.memory / 2**20:,.0f} MiB of memory"
    where = f"{on_threads(row.threads)}, batch {row.batch}{memory}"
    return Group("", Text(f"{printable(str(row.model), _LONGEST_NAME)}: {where}", style="bold"), table)


def benchmark_document(result: BenchmarkResult) -> dict[str, Any]:
    """What `benchmark` says with ``--json``; all times in seconds."""
    rows = [{**dataclasses.asdict(row), "model": str(row.model)} for row in result.rows]
    return {"rows": rows, "warnings": list(result.warnings)}


def _listed(title: str, names: Sequence[str], columns: Sequence[str], cells: Iterable[list[Text]]) -> FigureTable:
    """A row for each name. Names are whole: in a column, or above their rows where one of them is long."""
    rows = FigureTable(title, *columns, words=(title, "why"), longest_name=_NAME_COLUMN)
    for name, row in zip(names, cells, strict=True):
        rows.add_row(Text(printable(name, _LONGEST_NAME)), *row)
    return rows


def _cells(layer: DeployedLayer) -> list[Text]:
    """All but the name."""
    times = ("" if seconds is None else milliseconds(seconds) for seconds in layer.times)
    cells = [Text(each) for each in (layer.op, shape(layer.shape), percent(layer.zeros, 0), *times)]
    chosen = Text(layer.chosen, style="dim" if layer.chosen == "dense" else "green")
    return [*cells, chosen, Text(layer.reason)]


def milliseconds(seconds: float) -> str:
    """Seconds as users compare runs: 0.734 for less than 10 ms, 27.4 for more."""
    return f"{seconds * 1e3:.3f}" if seconds < 0.01 else f"{seconds * 1e3:.1f}"


def deploy_summary(result: DeployResult) -> str:
    """What was written and gained, on one line."""
    speed = f"{result.dense / result.deployed:.2f}x, {on_threads(result.threads)}"
    others = f", {fused(result)}" if fused(result) else ""
    return (
        f"{printable(str(result.output), 200)}: {skipping(result)}{others}; "
        f"{milliseconds(result.dense)} → {milliseconds(result.deployed)} ms a run "
        f"({speed}), {closeness(result)}, "
        f"{file_size(result.nbytes)}"
    )


def fused(result: DeployResult) -> str:
    """What became one operator each; empty where nothing did."""
    counts = ((result.activations, "activation"), (result.attentions, "attention block"))
    said = " and ".join(quantity(count, noun) for count, noun in counts if count)
    return f"{said} fused" if said else ""


def closeness(result: DeployResult) -> str:
    """How far the outputs are from those of the file."""
    if result.error is None:
        return "outputs not compared, since none holds a finite float"
    return f"outputs within {result.error:.1e} of their scale"


def truth_in_words(result: DeployResult) -> str:
    """What a quantised file's outputs are compared with; "" for other files."""
    if result.error is None or result.error_of_read is None:
        return ""
    return (
        "outputs are compared with a run of the file without optimisation; ONNX Runtime's optimised run of it is "
        f"within {result.error_of_read:.1e} of their scale"
    )


def skipping(result: DeployResult) -> str:
    """How many products skip zeros, and how many are deployed for what their neighbours gain."""
    taken = [layer for layer in result.layers if layer.chosen != "dense"]
    skip = sum(layer.skips for layer in taken)
    others = len(taken) - skip
    between = f" and {others} {'other goes' if others == 1 else 'others go'} with them" if others else ""
    return f"{skip} of {len(result.layers) + len(result.kept)} products skip zeros{between}"


def on_threads(threads: int) -> str:
    """With how many something was timed; 0 is for as many as ONNX Runtime takes."""
    return quantity(threads, "thread") if threads else "all threads"

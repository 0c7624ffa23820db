"""A compression as a person reads it in a terminal: what each weight got, what it is worth, and what to do next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.report.compared import comparison_rows
from domino_onnx.report.next_steps import next_steps
from domino_onnx.report.results import CompressResult, FileSizes, WeightRecord
from domino_onnx.report.speed import deploy_summary, truth_in_words
from domino_onnx.report.sweep import trials_table
from domino_onnx.report.tables import FigureTable, bar, skip_lines, table, weight_row
from domino_onnx.report.text import (
    counted,
    file_size,
    loss_in_unit,
    lost_in_words,
    millions,
    printable,
    scheme_name,
)
from domino_onnx.scheme import NMScheme

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned

__all__ = ["compress_view"]

_MOST_ROWS = 16
"""Weights that are listed one by one; more are folded."""
_NAMED = 3
_WORTH_SAYING = 0.05


def compress_view(result: CompressResult, report: Path | None = None, *, is_kept: bool = True) -> RenderableType:
    """What was written, what it is worth, and where the report lies; `is_kept` if the file is where a user looks."""
    tried: list[RenderableType] = []
    if result.trials:
        tried = [Text("tried, without finetuning:", style="bold"), trials_table(result.trials)]
    summary = _summary(result, report, is_kept)
    return Group(*_weights(result.weights, report), *skip_lines(result.inventory.skips), *tried, summary)


def _weights(records: Sequence[WeightRecord], report: Path | None) -> list[RenderableType]:
    """A row a weight; a row a scheme where these are many, or all the same."""
    schemes = {record.scheme for record in records}
    if len(records) > _MOST_ROWS or (len(schemes) == 1 and len(records) > _NAMED):
        where = "--report FILE.html" if report is None else "the report"
        return [_folded(records), Text(f"{where} lists every weight", style="dim")]
    rows = table("weight (node)", "op", "shape", "scheme", "kept", "params", "MACs")
    for record in records:
        weight_row(rows, record.label, record.op, record.shape, record.scheme, record.params, record.macs)
    return [rows]


def _folded(records: Sequence[WeightRecord]) -> FigureTable:
    rows = FigureTable("scheme", "kept", "weights", "params", "MACs", "which", words=("which",))
    by_scheme: dict[NMScheme, list[WeightRecord]] = {}
    for record in records:
        by_scheme.setdefault(record.scheme, []).append(record)
    for scheme, alike in sorted(by_scheme.items(), key=lambda item: (-item[0].density, item[0].m)):
        macs = None if any(each.macs is None for each in alike) else sum(each.macs or 0 for each in alike)
        largest = sorted(alike, key=lambda each: -each.params)
        names = counted([each.name or each.weight for each in largest]).partition(" ")[2][1:-1]
        sums = str(len(alike)), millions(sum(each.params for each in alike)), millions(macs)
        rows.add_row(scheme_name(scheme), bar(scheme), *sums, Text(names, overflow="ellipsis", no_wrap=True))
    return rows


def _summary(result: CompressResult, report: Path | None, is_kept: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in itertools.chain(
        _saved(result), _learned(result), _worth(result), _lost(result), _cost(result, report, is_kept)
    ):
        table.add_row(name, Text(value, style="bold"))
    return table


def _saved(result: CompressResult) -> Iterator[tuple[str, str]]:
    yield "zeros", f"{percent(result.sparsity, 2)} of all weights that multiply activations"
    if result.flops_saved is not None:
        yield "MACs saved", f"{percent(result.flops_saved, 2)} in theory; ONNX Runtime itself doesn't skip zeros"


def _learned(result: CompressResult) -> Iterator[tuple[str, str]]:
    """What search, refit and finetuning came to, where they did something."""
    if result.prediction is not None:
        yield "expected", result.prediction.in_words()
    if result.divergence is not None:
        pruned = [record for record in result.weights if not record.scheme.is_dense]
        count = f"{sum(record.error is not None for record in pruned)} of {quantity(len(pruned), 'pruned weight')}"
        apart = f"{result.divergence:.4g} (0: the dense model's outputs)"
        yield "refitted", f"{count}; divergence on the calibration data {apart}"
    if result.finetuned is not None:
        yield "finetuning", _finetuned(result.finetuned)


def _finetuned(done: Finetuned) -> str:
    """What finetuning came to, in how many steps, and why not in more."""
    steps = quantity(done.steps, "step")
    if done.best_step:
        said = f"held-out loss {done.before:.4g} → {done.after:.4g} in {steps}, lr {done.lr:g}"
    else:
        outcome = "undone after" if done.was_undone else "no gain in"
        said = f"{outcome} {steps}, lr {done.lr:g}: the weights from before are kept"
    if done.stopped_early:
        return f"{said}; ended early, {done.planned:,} were planned"
    return f"{said}; time decided how many" if done.decided_by == "time" else said


def _worth(result: CompressResult) -> Iterator[tuple[str, str]]:
    if result.sampled is not None:
        yield "check", result.sampled.in_words()
    if result.parity is None:
        return
    allowed, comparison = result.options.goal.max_drop, result.parity.comparison
    if allowed is not None:
        lost = lost_in_words(comparison.metric, comparison.drop)
        yield "max drop", f"{lost}; {loss_in_unit(comparison.metric, allowed)} may be lost"
    yield from comparison_rows(result.parity)
    if result.judge_seen and result.parity.inputs == "data":
        yield "", "measured on the calibration data: expect less on new data; --eval-data FILE says how much"


def _lost(result: CompressResult) -> Iterator[tuple[str, str]]:
    """The weights whose refit lost most, where that was measured."""
    measured = [record for record in result.weights if record.error is not None]
    worst = sorted(measured, key=lambda record: -(record.error or 0.0))[:_NAMED]
    if worst:
        named = ", ".join(f"{printable(each.name or each.weight, 40)} {percent(each.error, 1)}" for each in worst)
        yield "lost most", f"{named} (of the layer's output, squared)"


def _cost(result: CompressResult, report: Path | None, is_kept: bool) -> Iterator[tuple[str, str]]:
    if result.sizes is not None:
        yield "size", _sizes(result.sizes)
    size = f"{result.nbytes:,} bytes, {result.options.output.format}"
    yield ("written", f"{printable(str(result.output), 200)} ({size})") if is_kept else ("model", size)
    if result.deployed is not None:
        yield "deployed", deploy_summary(result.deployed)
        yield "", result.deployed.bits
        if truth_in_words(result.deployed):
            yield "", truth_in_words(result.deployed)
    if result.two_four is not None and result.two_four.broken:
        yield "TensorRT", result.two_four.in_words()
    if report is not None:
        yield "report", printable(str(report), 200)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.seconds.items() if seconds >= _WORTH_SAYING)
    yield "took", f"{result.took:.1f} s ({stages})"
    yield "next", next_steps(result)[0].command


def _sizes(sizes: FileSizes) -> str:
    said = f"{file_size(sizes.before)} → {file_size(sizes.after)} as written"
    if sizes.packed is not None and sizes.packed < sizes.after:
        said += f", {file_size(sizes.packed)} packed"
    if sizes.before_gzipped is None or sizes.after_gzipped is None:
        return said
    return f"{said}; gzipped {file_size(sizes.before_gzipped)} → {file_size(sizes.after_gzipped)}"

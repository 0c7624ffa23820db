"""Results as a person reads them in a terminal."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.evaluate import Evaluation, Verdict
from domino_onnx.outputs import OutputComparison
from domino_onnx.report.results import CompressResult, ConvertResult, InspectResult, SearchResult
from domino_onnx.report.speed import deploy_summary
from domino_onnx.report.sweep import trials_table
from domino_onnx.report.text import counted, lost_in_words, millions, percent, printable, shape
from domino_onnx.scheme import NMScheme, Skip

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness
    from domino_onnx.finetuning import Finetuned

__all__ = ["compress_view", "convert_view", "evaluation_view", "inspect_view", "search_view", "verify_view"]

_FULL_BAR = 16
_WORTH_SAYING = 0.05


def inspect_view(result: InspectResult) -> RenderableType:
    """Sites and skips of a model."""
    inventory = result.inventory
    table = _table("weight (node)", "op", "shape", "groups along", "may get", "params", "MACs", "zeros", "holds")
    for site in inventory.sites:
        table.add_row(
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
    sites = table if inventory.sites else Text("no weight of Conv, ConvTranspose, Gemm or MatMul can be pruned")
    return Group(head, *made, *notes, sites, *_skips(inventory.skips), *bridge)


def search_view(result: SearchResult) -> RenderableType:
    """A plan and what it comes to."""
    plan, inventory = result.plan, result.inventory
    table = _table("weight (node)", "op", "shape", "scheme", "kept", "params", "MACs")
    for site in inventory.sites:
        scheme = plan.schemes.get(site.key, site.schemes[0])
        _row(table, site.label, site.op, site.layout.shape, scheme, site.params, site.macs)
    saved = inventory.flops_saved(plan.schemes)
    planned = f"{percent(inventory.sparsity(plan.schemes), 2)} zeros planned"
    if saved is not None:
        planned += f", {percent(saved, 2)} of the MACs saved"
    expected = [Text(f"expected: {result.prediction.in_words()}")] if result.prediction else []
    return Group(table, *_skips(inventory.skips), Text(f"{plan.strategy}: {planned}", style="bold"), *expected)


def compress_view(result: CompressResult, report: Path | None = None) -> RenderableType:
    """What was written, weight by weight, what it is worth, and where the report lies."""
    table = _table("weight (node)", "op", "shape", "scheme", "kept", "params", "MACs")
    for record in result.weights:
        _row(table, record.label, record.op, record.shape, record.scheme, record.params, record.macs)
    tried: list[RenderableType] = []
    if result.trials:
        tried = [Text("tried, without finetuning:", style="bold"), trials_table(result.trials)]
    return Group(table, *_skips(result.inventory.skips), *tried, _summary(result, report))


def convert_view(result: ConvertResult) -> RenderableType:
    """How each weight is stored now, and what that saves."""
    table = _table("weight", "stored as", "dense bytes", "bytes", "why")
    for weight in result.weight_forms:
        sizes = f"{weight.dense_bytes:,}", f"{weight.stored_bytes:,}"
        table.add_row(Text(printable(weight.name)), weight.kind, *sizes, Text(printable(weight.reason or "", 100)))
    before, after = result.bytes_before, result.bytes_after
    saved = f"{before:,} → {after:,} bytes ({percent(after / before, 1)})"
    converted = "".join(f", {kind}" for kind in dataclasses.astuple(result.conversion) if kind != "keep")
    written = f"{printable(str(result.output), 200)}: {result.before} → {result.form}{converted}, {saved}"
    return Group(*([table] if result.weight_forms else []), Text(written, style="bold"))


def evaluation_view(evaluation: Evaluation) -> RenderableType:
    """A comparison of two models."""
    table = Table.grid(padding=(0, 2))
    for name, value in _comparison_rows(evaluation):
        table.add_row(name, Text(value, style="bold"))
    return table


def verify_view(verdict: Verdict) -> RenderableType:
    """What holds and what doesn't."""
    if verdict.manifest is None:
        return Text(verdict.problems[0], style="red")
    table = _table("weight (node)", "scheme", "zeros", "verdict")
    for finding in verdict.findings:
        table.add_row(
            Text(printable(finding.label)),
            finding.scheme,
            str(finding.zeros),
            Text(finding.problem or "holds", style="red" if finding.problem else "green"),
        )
    good = sum(finding.problem is None for finding in verdict.findings)
    style = "bold green" if verdict.holds else "bold red"
    suited = "" if verdict.manifest.target == "generic" else f", for the target {printable(verdict.manifest.target)}"
    said = Text(f"{good} of {len(verdict.findings)} weights hold what the manifest says{suited}", style=style)
    return Group(table, said)


def _table(*columns: str) -> Table:
    """A table whose first column, of names, and verdicts give way where it is too wide; numbers never do."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("params", "MACs", "zeros")
        gives_way = column in (columns[0], "verdict")
        table.add_column(column, justify="right" if right else "left", no_wrap=not gives_way, overflow="fold")
    return table


def _choices(schemes: Iterable[NMScheme]) -> str:
    """What isn't dense, by M: {8,4,2,1}:16, or 2:4 {2,1}:16."""
    by_m: dict[int, list[str]] = {}
    for scheme in schemes:
        if not scheme.is_dense:
            by_m.setdefault(scheme.m, []).append(str(scheme.n))
    return " ".join(f"{{{','.join(kept)}}}:{m}" if len(kept) > 1 else f"{kept[0]}:{m}" for m, kept in by_m.items())


def _row(
    table: Table,
    label: str,
    op: str,
    sizes: tuple[int, ...],
    scheme: NMScheme,
    params: int,
    macs: int | None,
) -> None:
    kept = max(round(float(scheme.density) * _FULL_BAR), 1)
    bar = Text("█" * kept, style="cyan").append("░" * (_FULL_BAR - kept), style="dim")
    table.add_row(Text(printable(label)), op, shape(sizes), str(scheme), bar, millions(params), millions(macs))


def _skips(skips: Sequence[Skip]) -> list[RenderableType]:
    """One line a reason, with how many weights it keeps dense."""
    lines: list[RenderableType] = []
    for reason, _ in Counter(skip.reason for skip in skips).most_common():
        names = counted([skip.label for skip in skips if skip.reason == reason])
        lines.append(Text(f"left dense: {names}: {printable(reason, 160)}", style="dim"))
    return lines


def _readiness(readiness: Readiness) -> RenderableType:
    """Whether the model can be finetuned, question by question."""
    table = Table.grid(padding=(0, 2))
    on = "your data" if readiness.inputs == "data" else "random inputs (--data FILE takes yours)"

    def row(name: str, value: str, good: bool | None) -> None:
        table.add_row(name, Text(printable(value, 600), style={True: "green", False: "red", None: "yellow"}[good]))

    row("torch", "has all operators" if readiness.supported else "can't build the model", readiness.supported)
    if readiness.supported:
        row("parity", _parity(readiness, on), readiness.parity_ok)
        reached = len(readiness.trainable)
        row("gradients", f"reach {reached} of {readiness.sites} sites on {on}", reached == readiness.sites)
    answer, good = _answer(readiness)
    row("finetuning", answer if readiness.reason is None else f"{answer}: {readiness.reason}", good)
    return table


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


def _summary(result: CompressResult, report: Path | None) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in itertools.chain(_saved(result), _learned(result), _worth(result), _cost(result, report)):
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
        count = f"{sum(record.error is not None for record in pruned)} of {len(pruned)} pruned weights"
        yield "refitted", f"{count}; divergence from the dense model on the calibration data {result.divergence:.4g}"
    if result.finetuned is not None:
        yield "finetuning", _finetuned(result.finetuned)


def _finetuned(done: Finetuned) -> str:
    """What finetuning came to, in how many steps, and why not in more."""
    if done.best_step:
        said = f"held-out loss {done.before:.4g} → {done.after:.4g} in {done.steps:,} steps, lr {done.lr:g}"
    else:
        said = f"no gain in {done.steps:,} steps, lr {done.lr:g}: the weights from before are kept"
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
        yield "lost", f"{lost_in_words(comparison.metric, comparison.drop)}; {percent(allowed, 2)} were allowed"
    yield from _comparison_rows(result.parity)
    if result.judge_seen and result.parity.inputs == "data":
        yield "", "measured on the calibration data: expect less on new data; --eval-data FILE says how much"


def _cost(result: CompressResult, report: Path | None) -> Iterator[tuple[str, str]]:
    size = f"{result.nbytes:,} bytes, {result.options.output.format}"
    yield "written", f"{printable(str(result.output), 200)} ({size})"
    if result.deployed is not None:
        yield "deployed", deploy_summary(result.deployed)
        yield "", result.deployed.bits
    if result.two_four is not None and result.two_four.broken:
        yield "TensorRT", result.two_four.in_words()
    if report is not None:
        yield "report", printable(str(report), 200)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.seconds.items() if seconds >= _WORTH_SAYING)
    yield "took", f"{sum(result.seconds.values()):.1f} s ({stages})"


def _comparison_rows(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
    comparison = evaluation.comparison
    if evaluation.inputs == "random":
        yield "check", f"runs in ONNX Runtime ({evaluation.provider}) on random inputs, which say nothing of accuracy"
        return
    if comparison.custom is not None:
        custom = comparison.custom
        yield custom.name, f"{custom.reference:.4g} dense → {custom.candidate:.4g}"
    if comparison.top1_reference is not None:
        yield "top-1", f"{percent(comparison.top1_reference, 2)} dense → {percent(comparison.top1_candidate, 2)}"
    several = len(comparison.outputs) > 1
    for output in comparison.outputs:
        yield (printable(output.name, 30) if several else "output"), output.means
        yield from ((f"  {name}" if several else name, value) for name, value in _output_rows(output))
    drawn = evaluation.inputs == "drawn"
    yield "compared on", f"{comparison.samples} {'drawn ' if drawn else ''}samples, {evaluation.provider}"
    if drawn:
        yield "", "drawn samples show no accuracy; real ones measure it, and keep more of it"


def _output_rows(output: OutputComparison) -> Iterator[tuple[str, str]]:
    """What was measured of one output."""
    if output.sequences is not None:
        yield "sequences", f"{percent(output.sequences, 2)} of samples decode to the dense model's sequence"
    if output.agreement is not None:
        of = "positions" if output.positions else "samples"
        yield "agreement", f"{percent(output.agreement, 2)} of {of} get the dense model's class"
        yield "KL", f"{output.kl:.4f} nats"
    if output.relative_error is not None:
        yield "relative error", f"{output.relative_error:.4f} of the variance{_worst_channel(output)}"
    if output.cosine is not None:
        yield "cosine", f"{output.cosine:.4f}"
    if output.equal is not None:
        yield "equality", f"{percent(output.equal, 2)} of the values are the same"


def _worst_channel(output: OutputComparison) -> str:
    if output.worst_channel is None or output.worst_error is None:
        return ""
    return f"; most in channel {output.worst_channel}: {output.worst_error:.2g}"

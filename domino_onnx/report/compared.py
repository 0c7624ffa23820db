"""How far two models are apart, for people and for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx.evaluate import Evaluation
from domino_onnx.outputs import Comparison, OutputComparison
from domino_onnx.percentage import percent
from domino_onnx.report.documents import Document
from domino_onnx.report.text import points, printable, samples_in_words

__all__ = ["comparison_document", "comparison_rows", "evaluate_document", "evaluation_document", "evaluation_view"]


def evaluation_view(evaluation: Evaluation) -> RenderableType:
    """A comparison of two models."""
    table = Table.grid(padding=(0, 2))
    for name, value in comparison_rows(evaluation):
        table.add_row(name, Text(value, style="bold"))
    return table


def comparison_rows(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
    """What was measured, output by output, and on what."""
    comparison = evaluation.comparison
    if evaluation.inputs == "random":
        yield "check", f"runs in ONNX Runtime ({evaluation.provider}) on random inputs, which say nothing of accuracy"
        return
    if comparison.custom is not None:
        custom = comparison.custom
        yield printable(custom.name, 30), f"{custom.reference:.4g} dense → {custom.candidate:.4g}"
    if comparison.top1_reference is not None and comparison.top1_candidate is not None:
        dense, now = comparison.top1_reference, comparison.top1_candidate
        yield "top-1", f"{percent(dense, 2)} dense → {percent(now, 2)} ({points(now - dense)})"
    several = len(comparison.outputs) > 1
    for output in comparison.outputs:
        yield (printable(output.name, 30) if several else "output"), output.means
        yield from ((f"  {name}" if several else name, value) for name, value in _output_rows(output))
    drawn = evaluation.inputs == "drawn"
    yield "compared on", f"{samples_in_words(comparison.samples, drawn=drawn)}, {evaluation.provider}"
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


def evaluate_document(evaluation: Evaluation) -> Document:
    """A comparison by itself, as `evaluate` has it, with its warnings."""
    return {**evaluation_document(evaluation), "warnings": list(evaluation.warnings)}


def evaluation_document(evaluation: Evaluation) -> Document:
    """A comparison of two models."""
    return {
        "inputs": evaluation.inputs,
        "provider": evaluation.provider,
        **comparison_document(evaluation.comparison),
    }


def comparison_document(comparison: Comparison) -> Document:
    """What was compared as a whole, and output by output."""
    return {
        "samples": comparison.samples,
        "metric": comparison.metric,
        "drop": comparison.drop,
        "standard_error": comparison.standard_error,
        "finite": comparison.finite,
        "agreement": comparison.agreement,
        "kl": comparison.kl,
        "cosine": comparison.cosine,
        "relative_error": comparison.relative_error,
        "max_abs": comparison.max_abs,
        "top1_reference": comparison.top1_reference,
        "top1_candidate": comparison.top1_candidate,
        "custom": None if comparison.custom is None else dataclasses.asdict(comparison.custom),
        "outputs": [dataclasses.asdict(output) for output in comparison.outputs],
    }

"""A report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from domino_onnx._version import __version__
from domino_onnx.outputs import OutputComparison
from domino_onnx.report.recipe import recipe_text
from domino_onnx.report.results import CompressResult, WeightRecord
from domino_onnx.report.sweep import trial_cells, trial_heads
from domino_onnx.report.text import millions, percent, printable, score_in_words, shape
from domino_onnx.scheme import Skip
from domino_onnx.search import Decision

__all__ = ["html_report"]

_WIDTH, _HEIGHT, _MARGIN = 720, 220, 46


def html_report(result: CompressResult) -> str:
    """The report of one compression; every name from the model is escaped."""
    environment = Environment(
        loader=PackageLoader("domino_onnx", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(_context(result))


def _context(result: CompressResult) -> dict[str, Any]:
    plan, allowed = result.plan, result.options.goal.max_drop
    return {
        "version": __version__,
        "model": printable(str(result.model), 300),
        "output": printable(Path(result.output).name, 100),
        "strategy": plan.strategy,
        "budget": " and ".join(f"{percent(budget.reduction, 2)} fewer {budget.measure}" for budget in plan.budgets),
        "seed": plan.seed,
        "target": plan.target,
        "legality": result.two_four.in_words() if result.two_four is not None else "",
        "cards": _cards(result),
        "warnings": [printable(warning, 2000) for warning in result.warnings],
        "sites": [_site(record) for record in result.weights],
        "skips": [_skip(skip) for skip in result.inventory.skips],
        "trial_heads": trial_heads(result.trials) if result.trials else [],
        "trials": [trial_cells(trial) for trial in result.trials],
        "allowed": "" if allowed is None else percent(allowed, 2),
        "curve": _curve(result),
        "decisions": [_decision(decision) for decision in result.decisions],
        "seconds": [_stage(result, stage) for stage in result.seconds],
        "expected": result.prediction.in_words() if result.prediction else "",
        "solver": result.solver,
        "peak": f"{result.peak_rss_bytes / 1e6:.0f}" if result.peak_rss_bytes else "",
        "recipe": recipe_text(result.options),
    }


def _site(record: WeightRecord) -> dict[str, Any]:
    return {
        "label": printable(record.label),
        "op": record.op,
        "shape": shape(record.shape),
        "scheme": str(record.scheme),
        "kept": round(100 * float(record.scheme.density), 2),
        "params": millions(record.params),
        "macs": millions(record.macs),
        "error": "" if record.error is None else percent(record.error, 1),
    }


def _skip(skip: Skip) -> dict[str, Any]:
    return {
        "label": printable(skip.label),
        "op": skip.op,
        "shape": shape(skip.shape),
        "reason": printable(skip.reason, 300),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "step": decision.step,
        "kind": decision.kind,
        "weight": printable(str(decision.key)) if decision.key else "all",
        "scheme": str(decision.scheme) if decision.scheme else "",
        "achieved": ", ".join(percent(share, 2) for share in decision.achieved),
    }


def _stage(result: CompressResult, stage: str) -> tuple[str, str, str]:
    """Its name, its seconds, and the megabytes by its end."""
    peak = result.peaks.get(stage)
    return stage, f"{result.seconds[stage]:.1f}", "" if peak is None else f"{peak / 1e6:.0f}"


def _cards(result: CompressResult) -> list[tuple[str, str]]:
    cards = [("zeros", percent(result.sparsity, 2))]
    if result.flops_saved is not None:
        cards.append(("MACs saved in theory", percent(result.flops_saved, 2)))
    if result.parity is not None and result.parity.inputs == "data":
        comparison = result.parity.comparison
        if comparison.top1_reference is not None:
            cards.append(("top-1 dense", percent(comparison.top1_reference, 2)))
            cards.append(("top-1 now", percent(comparison.top1_candidate, 2)))
        if comparison.custom is not None:
            cards.append((f"{printable(comparison.custom.name)} dense", f"{comparison.custom.reference:.4g}"))
            cards.append((f"{printable(comparison.custom.name)} now", f"{comparison.custom.candidate:.4g}"))
        cards += [_card(output, several=len(comparison.outputs) > 1) for output in comparison.outputs]
    return cards


def _card(output: OutputComparison, *, several: bool) -> tuple[str, str]:
    of = f" of {printable(output.name, 30)}" if several else ""
    score = score_in_words(output.metric, 1 - output.drop).removeprefix(f"{output.metric} ")
    return f"{output.metric}{of}", score


def _curve(result: CompressResult) -> Markup:
    """The held-out loss as an SVG polyline; empty without a finetuning."""
    finetuned = result.finetuned
    if finetuned is None:
        return Markup("")
    points = [(0, finetuned.before)] + [(s.step, s.held_out) for s in finetuned.history if s.held_out is not None]
    top = max(loss for _, loss in points) or 1.0
    last = max(points[-1][0], 1)
    path = " ".join(
        f"{_MARGIN + step / last * (_WIDTH - 2 * _MARGIN):.1f},{_HEIGHT - 24 - loss / top * (_HEIGHT - 44):.1f}"
        for step, loss in points
    )
    base = _HEIGHT - 24
    return Markup(
        '<svg viewBox="0 0 {w} {h}" role="img"><line x1="{m}" y1="{b}" x2="{r}" y2="{b}"/><polyline points="{path}"/>'
        '<text x="4" y="24">{top}</text><text x="4" y="{b}">0</text><text x="{r}" y="{h}" text-anchor="end">'
        "step {last}</text>"
        "</svg>"
    ).format(w=_WIDTH, h=_HEIGHT, m=_MARGIN, b=base, r=_WIDTH - _MARGIN, path=path, top=f"{top:.3g}", last=last)

"""What `compress` did, as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_onnx.outputs import OutputComparison
from domino_onnx.percentage import percent
from domino_onnx.report.forecast import TITLES
from domino_onnx.report.left_dense import Decider, LeftDense, left_dense
from domino_onnx.report.next_steps import next_steps
from domino_onnx.report.page.blocks import blocks
from domino_onnx.report.page.document import render
from domino_onnx.report.page.figures import figures
from domino_onnx.report.page.second_file import second_card, second_file
from domino_onnx.report.page.verdict import judged_on, verdict
from domino_onnx.report.recipe import recipe_text
from domino_onnx.report.results import CompressResult, WeightRecord
from domino_onnx.report.sweep import trial_cells, trial_heads
from domino_onnx.report.text import (
    file_size,
    loss_in_unit,
    millions,
    printable,
    printable_reason,
    scheme_name,
    score_in_words,
    shape,
)
from domino_onnx.scheme import WeightKey
from domino_onnx.search import Decision

__all__ = ["compress_page"]

_LONGEST = 500
"""Names are whole, so that they can be copied into --exclude."""
_DECIDERS: dict[Decider, str] = {"plan": "the plan", "options": "your options", "kind": "the weight itself"}
_OPEN = 40
"""So many weights are shown at once; more are folded by block."""


def compress_page(result: CompressResult) -> str:
    """The report of one compression; every name from the model is escaped."""
    plan, allowed = result.plan, result.options.goal.max_drop
    sites = [_site(result, record) for record in result.weights]
    return render(
        "compress.html.j2",
        model=printable(str(result.model), _LONGEST),
        output=printable(Path(result.output).name, 100),
        verdict=verdict(result),
        judged=judged_on(result),
        made_by=_made_by(result),
        legality=result.two_four.in_words() if result.two_four is not None else "",
        cards=_cards(result),
        warnings=[printable(warning, 2000) for warning in result.warnings],
        steps=next_steps(result),
        blocks=[
            _block(name, [sites[place] for place in places], [result.weights[place] for place in places])
            for name, places in blocks([record.name or record.weight for record in result.weights])
        ],
        is_open=len(sites) <= _OPEN,
        second=second_file(result.deployed),
        has_errors=any(record.error is not None for record in result.weights),
        has_candidates=result.losses is not None,
        dense=[_left(each) for each in left_dense(result)],
        is_chosen=any(each.by == "plan" for each in left_dense(result)),
        trial_heads=trial_heads(result.trials) if result.trials else [],
        trials=[trial_cells(trial) for trial in result.trials],
        allowed="" if allowed is None else _allowed(result, allowed),
        figures=list(figures(result)),
        decisions=[_decision(decision) for decision in result.decisions],
        seconds=[_stage(result, stage) for stage in result.seconds],
        took=f"{math.fsum(result.seconds.values()):.0f}",
        expected=result.prediction.in_words() if result.prediction else "",
        peak=f"{result.peak_rss_bytes / 1e6:.0f}" if result.peak_rss_bytes else "",
        strategy=plan.strategy,
        recipe=recipe_text(result.options),
    )


def _allowed(result: CompressResult, drop: float) -> str:
    """In the unit of the metric that plans were compared by."""
    compared = [trial.comparison for trial in result.trials]
    return loss_in_unit(compared[0].metric, drop) if compared else f"{drop:g}"


def _made_by(result: CompressResult) -> str:
    plan = result.plan
    budget = " and ".join(f"{percent(budget.reduction, 2)} fewer {budget.measure}" for budget in plan.budgets)
    scheme = result.options.goal.scheme
    schemes = f"schemes by {plan.strategy}" if scheme is None else f"{scheme} wherever it fits"
    parts = [schemes, f"weights by {result.solver}"]
    parts += [f"budget: {budget}"] if budget else []
    parts += [f"masks for {plan.target}"] if plan.target != "generic" else []
    return ", ".join([*parts, f"seed {plan.seed}"])


def _cards(result: CompressResult) -> list[tuple[str, str]]:
    cards = [
        ("zeros", percent(result.sparsity, 2)),
        ("file", _sizes(result)),
    ]
    packed = None if result.sizes is None else result.sizes.packed
    if packed is not None and packed < result.nbytes:
        cards.append(("file, if packed", file_size(packed)))
    if result.flops_saved is not None:
        cards.append(("MACs saved in theory", percent(result.flops_saved, 2)))
    if result.deployed is not None:
        cards.append(second_card(result.deployed))
    if result.parity is not None and result.parity.inputs != "random":
        comparison = result.parity.comparison
        if comparison.top1_reference is not None:
            dense = percent(comparison.top1_reference, 2).removesuffix(" %")
            cards.append(("top-1", f"{dense} → {percent(comparison.top1_candidate, 2)}"))
        if comparison.custom is not None:
            custom = comparison.custom
            cards.append((printable(custom.name), f"{custom.reference:.4g} → {custom.candidate:.4g}"))
        cards += [_card(output, several=len(comparison.outputs) > 1) for output in comparison.outputs]
    return cards


def _sizes(result: CompressResult) -> str:
    """Of the dense files, where they are known, and of those that were written."""
    after = file_size(result.nbytes)
    if result.sizes is None:
        return after
    before = file_size(result.sizes.before)
    unit = after[-3:]
    return f"{before.removesuffix(unit)} → {after}"


def _card(output: OutputComparison, *, several: bool) -> tuple[str, str]:
    of = f" of {printable(output.name, 30)}" if several else ""
    score = score_in_words(output.metric, 1 - output.drop).removeprefix(f"{output.metric} ")
    return f"{output.metric}{of}", score


def _block(name: str, sites: list[dict[str, Any]], records: Sequence[WeightRecord]) -> dict[str, Any]:
    params, zeros = sum(record.params for record in records), sum(record.zeros for record in records)
    losses = [record.error for record in records if record.error is not None]
    return {
        "name": printable(name, 80),
        "count": len(records),
        "params": millions(params),
        "zeros": percent(zeros / params if params else 0.0),
        "worst": percent(max(losses), 1) if losses else "",
        "sites": sites,
    }


def _site(result: CompressResult, record: WeightRecord) -> dict[str, Any]:
    worst = max((each.error or 0.0 for each in result.weights), default=0.0)
    return {
        "weight": printable(record.weight, _LONGEST),
        "node": printable(record.name, _LONGEST) if record.name != record.weight else "",
        "op": record.op,
        "shape": shape(record.shape),
        "scheme": scheme_name(record.scheme),
        "density": float(record.scheme.density),
        "zeros": round(100 * record.zeros / record.params, 2) if record.params else 0,
        "zeros_said": percent(record.zeros / record.params if record.params else 0.0),
        "params": record.params,
        "params_said": millions(record.params),
        "macs": record.macs or 0,
        "macs_said": millions(record.macs),
        "error": record.error or 0.0,
        "error_said": "" if record.error is None else percent(record.error, 1),
        "error_bar": round(100 * (record.error or 0.0) / worst, 1) if worst else 0,
        **_losses(result, record),
    }


def _losses(result: CompressResult, record: WeightRecord) -> dict[str, Any]:
    """The measured loss of the scheme that was chosen, and of each that the site could have."""
    site = result.inventory.site(WeightKey(record.weight, record.scope))
    if site is None or result.losses is None:
        return {"loss": 0.0, "loss_said": "", "candidates": []}
    losses = dict(zip(site.schemes, result.losses.losses[site.key], strict=True))
    loss = losses.get(record.scheme, 0.0)
    candidates = [(scheme_name(scheme), f"{each:.2g}", scheme == record.scheme) for scheme, each in losses.items()]
    return {"loss": loss, "loss_said": f"{loss:.2g}", "candidates": candidates}


def _left(left: LeftDense) -> dict[str, Any]:
    return {
        "label": printable(left.label, _LONGEST),
        "op": left.op,
        "shape": shape(left.shape),
        "by": _DECIDERS[left.by],
        "reason": printable_reason(left.reason),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "step": decision.step,
        "kind": decision.kind,
        "weight": printable(str(decision.key), _LONGEST) if decision.key else "all",
        "scheme": str(decision.scheme) if decision.scheme else "",
        "achieved": ", ".join(percent(share, 2) for share in decision.achieved),
    }


def _stage(result: CompressResult, stage: str) -> tuple[str, str, str]:
    """Its name, its seconds, and the megabytes by its end."""
    peak = result.peaks.get(stage)
    return TITLES.get(stage, stage), f"{result.seconds[stage]:.1f}", "" if peak is None else f"{peak / 1e6:.0f}"

"""A plan and the way to it, for people and for scripts."""

from __future__ import annotations

import dataclasses

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.options import recipe_document
from domino_onnx.percentage import percent
from domino_onnx.report.documents import Document, decision_document, skip_document
from domino_onnx.report.forecast import forecast_document
from domino_onnx.report.results import SearchResult
from domino_onnx.report.tables import skip_lines, table, weight_row
from domino_onnx.scheme import Plan, Site

__all__ = ["search_document", "search_view"]


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


def search_document(result: SearchResult) -> Document:
    """What `search` says with ``--json``: the plan, and the way to it."""
    plan = result.plan
    return {
        "strategy": plan.strategy,
        "target": plan.target,
        "budgets": [budget.to_document() for budget in plan.budgets],
        "planned_sparsity": result.inventory.sparsity(plan.schemes),
        "planned_flops_saved": result.inventory.flops_saved(plan.schemes),
        "prediction": None if result.prediction is None else dataclasses.asdict(result.prediction),
        "sites": [_planned(site, plan) for site in result.inventory.sites],
        "skipped": [skip_document(skip) for skip in result.inventory.skips],
        "decisions": [decision_document(decision) for decision in result.decisions],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "peak_rss_bytes_by_stage": dict(result.peaks),
        "forecast": forecast_document(result.forecast),
        "recipe": recipe_document(result.options),
        "drawn": list(result.drawn),
        "warnings": list(result.warnings),
    }


def _planned(site: Site, plan: Plan) -> Document:
    scheme = plan.schemes.get(site.key, site.schemes[0])
    return {
        "name": site.name,
        "weight": site.key.name,
        "op": site.op,
        "shape": list(site.layout.shape),
        "n": scheme.n,
        "m": scheme.m,
        "params": site.params,
        "macs": site.macs,
    }

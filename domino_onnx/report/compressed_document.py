"""A compression as a JSON document."""

from __future__ import annotations

import dataclasses

from domino_onnx.options import recipe_document
from domino_onnx.report.compared import evaluation_document
from domino_onnx.report.documents import Document, decision_document, skip_document
from domino_onnx.report.forecast import forecast_document
from domino_onnx.report.results import CompressResult, WeightRecord
from domino_onnx.report.speed import deploy_document
from domino_onnx.report.sweep import trial_document
from domino_onnx.scheme import WeightKey
from domino_onnx.targets import TwoFourCost

__all__ = ["compress_document"]


def compress_document(result: CompressResult) -> Document:
    """What `compress`, `apply` and `finetune` say with ``--json``."""
    return {
        "model": str(result.model),
        "output": str(result.output),
        "format": result.options.output.format,
        "bytes": result.nbytes,
        "deployed": None if result.deployed is None else deploy_document(result.deployed),
        "sizes": None if result.sizes is None else dataclasses.asdict(result.sizes),
        "strategy": result.plan.strategy,
        "target": result.plan.target,
        "budgets": [budget.to_document() for budget in result.plan.budgets],
        "seed": result.plan.seed,
        "sparsity": result.sparsity,
        "sparsity_sites": result.sparsity_sites,
        "flops_saved": result.flops_saved,
        "planned_sparsity": result.planned_sparsity,
        "planned_flops_saved": result.planned_flops_saved,
        "solver": result.solver,
        "divergence": result.divergence,
        "prediction": None if result.prediction is None else dataclasses.asdict(result.prediction),
        "max_drop": result.options.goal.max_drop,
        "trials": [trial_document(trial) for trial in result.trials],
        "sites": [
            {
                "name": record.name,
                "weight": record.weight,
                "scope": list(record.scope),
                "op": record.op,
                "shape": list(record.shape),
                "n": record.scheme.n,
                "m": record.scheme.m,
                "sparsity": record.zeros / record.params,
                "params": record.params,
                "macs": record.macs,
                "error": record.error,
                "candidates": _candidates(result, record),
            }
            for record in result.weights
        ],
        "skipped": [skip_document(skip) for skip in result.inventory.skips],
        "parity": None
        if result.parity is None
        else {**evaluation_document(result.parity), "fitted": result.judge_seen},
        "sampled": None if result.sampled is None else dataclasses.asdict(result.sampled),
        "tensorrt": None if result.two_four is None else _two_four(result.two_four),
        "finetuning": _finetuning(result),
        "decisions": [decision_document(decision) for decision in result.decisions],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "peak_rss_bytes_by_stage": dict(result.peaks),
        "peak_rss_bytes": result.peak_rss_bytes,
        "forecast": forecast_document(result.forecast),
        "recipe": recipe_document(result.options),
        "drawn": list(result.drawn),
        "warnings": list(result.warnings),
    }


def _candidates(result: CompressResult, record: WeightRecord) -> list[Document]:
    """Each scheme that the weight could have, with its measured loss; empty where none was measured."""
    site = result.inventory.site(WeightKey(record.weight, record.scope))
    if site is None or result.losses is None:
        return []
    losses = result.losses.losses[site.key]
    return [{"n": s.n, "m": s.m, "loss": loss} for s, loss in zip(site.schemes, losses, strict=True)]


def _two_four(cost: TwoFourCost) -> Document:
    """Of pruned weights that TensorRT's sparse kernels could take: how many aren't 2:4, and what that would lose."""
    return {"eligible": cost.eligible, "broken": cost.broken, "lost_energy": cost.lost}


def _finetuning(result: CompressResult) -> Document | None:
    finetuned = result.finetuned
    if finetuned is None:
        return None
    return {
        "metric": "divergence of the outputs from the dense ones"
        if not finetuned.blocks
        else "squared error over the variance",
        "before": finetuned.before,
        "after": finetuned.after,
        "steps": finetuned.steps,
        "planned": finetuned.planned,
        "decided_by": finetuned.decided_by,
        "stopped_early": finetuned.stopped_early,
        "lr": finetuned.lr,
        "best_step": finetuned.best_step,
        "was_undone": finetuned.was_undone,
        "halvings": finetuned.halvings,
        "diverged": finetuned.diverged,
        "blocks": finetuned.blocks,
        "frozen": [str(key) for key in finetuned.frozen],
        "history": [
            {"step": step.step, "loss": step.loss, "held_out": step.held_out}
            for step in finetuned.history
            if step.held_out is not None
        ],
    }

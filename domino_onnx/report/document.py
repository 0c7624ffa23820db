"""Results as JSON documents: the shape that scripts rely on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from domino_onnx.codec import encode
from domino_onnx.evaluate import Evaluation, Verdict
from domino_onnx.forecast import Forecast
from domino_onnx.options import recipe_document
from domino_onnx.outputs import Comparison
from domino_onnx.report.results import (
    CompressResult,
    ConvertResult,
    InspectResult,
    Port,
    Prediction,
    SearchResult,
    SweepResult,
    Trial,
    WeightRecord,
)
from domino_onnx.report.speed import deploy_document
from domino_onnx.scheme import Plan, Site, Skip, WeightKey
from domino_onnx.search import Decision
from domino_onnx.targets import TwoFourCost

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness

__all__ = [
    "compress_document",
    "convert_document",
    "dump",
    "evaluation_document",
    "inspect_document",
    "search_document",
    "sweep_document",
    "verify_document",
]

Document = dict[str, Any]


def dump(document: Mapping[str, Any]) -> str:
    """One JSON document; what isn't finite becomes null, since JSON has no NaN."""
    return encode(_finite(document), indent=1)


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
        "prediction": _prediction(result.prediction),
        "max_drop": result.options.goal.max_drop,
        "trials": [_trial(trial) for trial in result.trials],
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
        "skipped": [_skip(skip) for skip in result.inventory.skips],
        "parity": None
        if result.parity is None
        else {**evaluation_document(result.parity), "fitted": result.judge_seen},
        "sampled": None if result.sampled is None else dataclasses.asdict(result.sampled),
        "tensorrt": None if result.two_four is None else _two_four(result.two_four),
        "finetuning": _finetuning(result),
        "decisions": [_decision(decision) for decision in result.decisions],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "peak_rss_bytes_by_stage": dict(result.peaks),
        "peak_rss_bytes": result.peak_rss_bytes,
        "forecast": _forecast(result.forecast),
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


def search_document(result: SearchResult) -> Document:
    """What `search` says with ``--json``: the plan, and the way to it."""
    plan = result.plan
    return {
        "strategy": plan.strategy,
        "target": plan.target,
        "budgets": [budget.to_document() for budget in plan.budgets],
        "planned_sparsity": result.inventory.sparsity(plan.schemes),
        "planned_flops_saved": result.inventory.flops_saved(plan.schemes),
        "prediction": _prediction(result.prediction),
        "sites": [_planned(site, plan) for site in result.inventory.sites],
        "skipped": [_skip(skip) for skip in result.inventory.skips],
        "decisions": [_decision(decision) for decision in result.decisions],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "peak_rss_bytes_by_stage": dict(result.peaks),
        "forecast": _forecast(result.forecast),
        "recipe": recipe_document(result.options),
        "drawn": list(result.drawn),
        "warnings": list(result.warnings),
    }


def sweep_document(result: SweepResult) -> Document:
    """What `sweep` says with ``--json``."""
    return {
        "model": str(result.model),
        "dense_bytes": result.dense_bytes,
        "dense_bytes_gzipped": result.dense_bytes_gzipped,
        "trials": [_trial(trial) for trial in result.trials],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "forecast": _forecast(result.forecast),
        "recipe": recipe_document(result.options),
        "drawn": list(result.drawn),
        "warnings": list(result.warnings),
    }


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
        "forecast": _forecast(result.forecast),
        "params": inventory.params,
        "macs": inventory.macs,
        "sparsity": inventory.sparsity({}),
        "sites": [_site(site) for site in inventory.sites],
        "skipped": [_skip(skip) for skip in inventory.skips],
        "notes": list(inventory.notes),
        "compressed_by": result.manifest.tool if result.manifest else None,
    }
    return document if result.bridge is None else {**document, "bridge": _bridge(result.bridge)}


def convert_document(result: ConvertResult) -> Document:
    """What `convert` says with ``--json``."""
    return {
        "model": str(result.model),
        "output": str(result.output),
        "before": result.before,
        "format": result.form,
        "precision": result.conversion.precision,
        "weight_type": result.conversion.weights,
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "weights": [dataclasses.asdict(weight) for weight in result.weight_forms],
        "warnings": list(result.warnings),
    }


def evaluation_document(evaluation: Evaluation) -> Document:
    """A comparison of two models."""
    return {
        "inputs": evaluation.inputs,
        "provider": evaluation.provider,
        **_comparison(evaluation.comparison),
    }


def verify_document(verdict: Verdict) -> Document:
    """What `verify` says with ``--json``."""
    return {
        "holds": verdict.holds,
        "tool": verdict.manifest.tool if verdict.manifest else None,
        "strategy": verdict.manifest.strategy if verdict.manifest else None,
        "target": verdict.manifest.target if verdict.manifest else None,
        "weights": [dataclasses.asdict(finding) for finding in verdict.findings],
        "problems": list(verdict.problems),
    }


def _port(port: Port) -> Document:
    """An input or output; axes are numbers, names, or null."""
    axes = None if port.axes is None else [int(axis) if axis.isdecimal() else axis for axis in port.axes]
    return {"name": port.name, "dtype": port.dtype, "shape": axes}


def _comparison(comparison: Comparison) -> Document:
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


def _two_four(cost: TwoFourCost) -> Document:
    """Of pruned weights that TensorRT's sparse kernels could take: how many aren't 2:4, and what that would lose."""
    return {"eligible": cost.eligible, "broken": cost.broken, "lost_energy": cost.lost}


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


def _bridge(readiness: Readiness) -> Document:
    return {
        "supported": readiness.supported,
        "missing": list(readiness.missing),
        "inputs": readiness.inputs,
        "parity_ok": readiness.parity_ok,
        "max_abs": readiness.max_abs,
        "max_rel": readiness.max_rel,
        "worst": readiness.worst,
        "trainable_sites": len(readiness.trainable),
        "sites": readiness.sites,
        "reason": readiness.reason,
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


def _trial(trial: Trial) -> Document:
    """A plan that was tried."""
    return {
        "budget": trial.budget.to_document(),
        "planned_sparsity": trial.planned_sparsity,
        "planned_flops_saved": trial.planned_flops_saved,
        "metric": trial.comparison.metric,
        "drop": trial.comparison.drop,
        "comparison": _comparison(trial.comparison),
        "divergence": trial.divergence,
        "bytes": trial.bytes,
        "bytes_gzipped": trial.bytes_gzipped,
        "sites": [{"weight": str(key), "scheme": str(scheme)} for key, scheme in trial.plan.schemes.items()],
    }


def _forecast(forecast: Forecast | None) -> Document | None:
    """What was expected before the work began."""
    if forecast is None:
        return None
    return {
        "seconds": round(forecast.seconds, 3),
        "seconds_by_stage": {stage.name: round(stage.seconds, 3) for stage in forecast.stages},
        "threads": forecast.threads,
        "memory_bytes": forecast.memory,
        "memory_bytes_available": forecast.memory_available,
        "disk_bytes": forecast.disk,
        "disk_bytes_available": forecast.disk_available,
        "prunable": forecast.prunable,
        "unprunable": [dataclasses.asdict(each) for each in forecast.unprunable],
        "finetunes": forecast.finetunes,
    }


def _prediction(prediction: Prediction | None) -> Document | None:
    return None if prediction is None else dataclasses.asdict(prediction)


def _skip(skip: Skip) -> Document:
    return {
        "name": skip.name,
        "weight": skip.key.name,
        "scope": list(skip.key.scope),
        "op": skip.op,
        "shape": list(skip.shape),
        "params": skip.params,
        "counted": skip.counted,
        "reason": skip.reason,
    }


def _decision(decision: Decision) -> Document:
    return {
        "step": decision.step,
        "kind": decision.kind,
        "weight": str(decision.key) if decision.key else None,
        "scheme": str(decision.scheme) if decision.scheme else None,
        "achieved": list(decision.achieved),
        "loss": decision.loss,
    }


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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

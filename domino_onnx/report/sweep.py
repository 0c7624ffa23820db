"""What a model is worth with ever more zeros, for people and for scripts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.options import recipe_document
from domino_onnx.outputs import Comparison
from domino_onnx.percentage import percent
from domino_onnx.report.compared import comparison_document
from domino_onnx.report.documents import Document
from domino_onnx.report.forecast import forecast_document
from domino_onnx.report.results import SweepResult, Trial
from domino_onnx.report.tables import FigureTable
from domino_onnx.report.text import file_size, in_unit, loss_in_unit, printable, samples_in_words

__all__ = [
    "judges",
    "metric_name",
    "score_of",
    "sweep_document",
    "sweep_view",
    "trial_cells",
    "trial_document",
    "trial_heads",
    "trials_table",
]


def sweep_view(result: SweepResult) -> RenderableType:
    """One row a plan."""
    dense = f"dense: {file_size(result.dense_bytes)}, gzipped {file_size(result.dense_bytes_gzipped)}"
    judged = f"judged on {judges(result)}; no finetuning"
    return Group(trials_table(result.trials), Text(dense), Text(judged, style="dim"))


def trials_table(trials: Sequence[Trial]) -> FigureTable:
    """Zeros, what they cost by the metric, and what they save."""
    rows = FigureTable(*trial_heads(trials), words=())
    for trial in trials:
        rows.add_row(*trial_cells(trial))
    return rows


def trial_heads(trials: Sequence[Trial]) -> list[str]:
    """What the cells of a plan that was tried are."""
    return ["zeros", "MACs saved", metric_name(trials[0].comparison), "lost", "file", "gzipped"]


def trial_cells(trial: Trial) -> list[str]:
    """A plan that was tried, for people."""
    return [
        percent(trial.planned_sparsity, 2),
        percent(trial.planned_flops_saved),
        in_unit(trial.comparison.metric, score_of(trial)),
        loss_in_unit(trial.comparison.metric, trial.comparison.drop),
        file_size(trial.bytes),
        file_size(trial.bytes_gzipped),
    ]


def judges(result: SweepResult) -> str:
    """How many samples judged, and of what kind."""
    drawn = bool(result.drawn)
    judged = samples_in_words(result.trials[0].comparison.samples, drawn=drawn)
    return f"{judged}, which is no accuracy" if drawn else f"{judged} that nothing was learned from"


def metric_name(comparison: Comparison) -> str:
    """What `_score` is: one minus the relative error is the coefficient of determination."""
    return printable(comparison.metric.replace("relative error", "R2"))


def score_of(trial: Trial) -> float:
    """The metric itself: what the dense model has of it, less what is lost."""
    return trial.comparison.dense_score - trial.comparison.drop


def sweep_document(result: SweepResult) -> Document:
    """What `sweep` says with ``--json``."""
    return {
        "model": str(result.model),
        "dense_bytes": result.dense_bytes,
        "dense_bytes_gzipped": result.dense_bytes_gzipped,
        "trials": [trial_document(trial) for trial in result.trials],
        "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
        "forecast": forecast_document(result.forecast),
        "recipe": recipe_document(result.options),
        "drawn": list(result.drawn),
        "warnings": list(result.warnings),
    }


def trial_document(trial: Trial) -> Document:
    """A plan that was tried."""
    return {
        "budget": trial.budget.to_document(),
        "planned_sparsity": trial.planned_sparsity,
        "planned_flops_saved": trial.planned_flops_saved,
        "metric": trial.comparison.metric,
        "drop": trial.comparison.drop,
        "comparison": comparison_document(trial.comparison),
        "divergence": trial.divergence,
        "bytes": trial.bytes,
        "bytes_gzipped": trial.bytes_gzipped,
        "sites": [{"weight": str(key), "scheme": str(scheme)} for key, scheme in trial.plan.schemes.items()],
    }

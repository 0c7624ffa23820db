"""What zeros cost, as a page with a plot."""

from __future__ import annotations

import math

from domino_onnx.report.page.document import render
from domino_onnx.report.page.plots import line
from domino_onnx.report.recipe import recipe_text
from domino_onnx.report.results import SweepResult
from domino_onnx.report.sweep import judges, metric_name, score_of, trial_cells, trial_heads
from domino_onnx.report.text import file_size, is_share, printable

__all__ = ["sweep_page"]


def sweep_page(result: SweepResult) -> str:
    """The report of one sweep; the dense model is at no zeros."""
    first, metric = result.trials[0].comparison, metric_name(result.trials[0].comparison)
    points = [(0.0, first.dense_score)]
    found = ((trial.planned_sparsity, score_of(trial)) for trial in result.trials)
    points += sorted(point for point in found if math.isfinite(point[1]))
    percents = (True, is_share(first.metric))
    plot = line(f"{metric} over zeros", points, "zeros", metric, chosen=points[1:], percents=percents)
    return render(
        "sweep.html.j2",
        model=printable(str(result.model), 300),
        metric=metric,
        samples=judges(result),
        dense=file_size(result.dense_bytes),
        dense_gzipped=file_size(result.dense_bytes_gzipped),
        heads=trial_heads(result.trials),
        rows=[trial_cells(trial) for trial in result.trials],
        warnings=[printable(warning, 2000) for warning in result.warnings],
        plot=plot,
        shares=[repr(trial.budget.reduction) for trial in result.trials],
        recipe=recipe_text(result.options),
    )

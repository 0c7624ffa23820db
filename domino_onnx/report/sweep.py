"""What a model is worth with ever more zeros: a table, and a page with a plot."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domino_onnx._version import __version__
from domino_onnx.outputs import Comparison
from domino_onnx.report.recipe import recipe_text
from domino_onnx.report.results import SweepResult, Trial
from domino_onnx.report.text import percent, printable

__all__ = ["sweep_html", "sweep_view", "trial_cells", "trial_heads", "trials_table"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 300, 56, 28
_TICKS = 4


def sweep_view(result: SweepResult) -> RenderableType:
    """One row a plan."""
    samples = result.trials[0].comparison.samples
    dense = f"dense: {_size(result.dense_bytes)}, gzipped {_size(result.dense_bytes_gzipped)}"
    judged = f"judged on {samples} {_judges(result)}; no finetuning"
    return Group(trials_table(result.trials), Text(dense), Text(judged, style="dim"))


def trials_table(trials: Sequence[Trial]) -> Table:
    """Zeros, what they cost by the metric, and what they save."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in trial_heads(trials):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in trials:
        table.add_row(*trial_cells(trial))
    return table


def sweep_html(result: SweepResult) -> str:
    """The same as one HTML file that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("domino_onnx", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    first = result.trials[0].comparison
    return environment.get_template("sweep.html.j2").render(
        version=__version__,
        model=printable(str(result.model), 300),
        metric=_metric(first),
        samples=f"{first.samples} {_judges(result)}",
        dense=_size(result.dense_bytes),
        dense_gzipped=_size(result.dense_bytes_gzipped),
        heads=trial_heads(result.trials),
        rows=[trial_cells(trial) for trial in result.trials],
        warnings=[printable(warning, 2000) for warning in result.warnings],
        plot=_plot(result.trials),
        recipe=recipe_text(result.options),
    )


def trial_heads(trials: Sequence[Trial]) -> list[str]:
    """What the cells of a plan that was tried are."""
    return ["zeros", "MACs saved", _metric(trials[0].comparison), "lost", "file", "gzipped"]


def trial_cells(trial: Trial) -> list[str]:
    """A plan that was tried, for people."""
    return [
        percent(trial.planned_sparsity, 2),
        percent(trial.planned_flops_saved),
        percent(_score(trial), 2),
        percent(trial.comparison.drop, 2),
        _size(trial.bytes),
        _size(trial.bytes_gzipped),
    ]


def _judges(result: SweepResult) -> str:
    return "drawn samples, which is no accuracy" if result.drawn else "samples that nothing was learned from"


def _metric(comparison: Comparison) -> str:
    """What `_score` is: one minus the relative error is the coefficient of determination."""
    return comparison.metric.replace("relative error", "R2")


def _score(trial: Trial) -> float:
    """The metric itself: what the dense model has of it, less what is lost."""
    return trial.comparison.dense_score - trial.comparison.drop


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count / 1e3:.2f} kB"


def _plot(trials: Sequence[Trial]) -> Markup:
    """The metric over the zeros, as SVG; the dense model is at no zeros."""
    points = [(0.0, trials[0].comparison.dense_score)] + [
        (trial.planned_sparsity, max(_score(trial), 0.0)) for trial in trials
    ]
    low = min(score for _, score in points)
    span = max(max(score for _, score in points) - low, 0.01)

    def x(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - 12)

    def y(score: float) -> float:
        return 12 + (1 - (score - low) / span) * (_HEIGHT - _BOTTOM - 12)

    parts = []
    for tick in range(_TICKS + 1):
        share, score = tick / _TICKS, low + span * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{y(score):.1f}" y2="{y(score):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(score) + 4:.1f}" text-anchor="end">{score:.1%}</text>')
        parts.append(f'<text x="{x(share):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{share:.0%}</text>')
    line = " ".join(f"{x(share):.1f},{y(score):.1f}" for share, score in points)
    dots = "".join(f'<circle cx="{x(share):.1f}" cy="{y(score):.1f}" r="4"/>' for share, score in points)
    drawn = "".join(parts) + f'<polyline points="{line}"/>{dots}'
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{drawn}</svg>')  # noqa: S704  (numbers alone)

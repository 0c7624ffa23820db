"""What functions find out, and change nothing."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from domino_onnx.api.keywords import Share
from domino_onnx.api.options import share_of
from domino_onnx.api.result import Result
from domino_onnx.evaluate import Evaluation, Finding, Verdict
from domino_onnx.report import results
from domino_onnx.report.compared import evaluate_document, evaluation_view
from domino_onnx.report.doctor import doctor_document, doctor_view
from domino_onnx.report.inspected import inspect_document, inspect_view
from domino_onnx.report.page import sweep_page
from domino_onnx.report.results import Trial
from domino_onnx.report.searched import search_document, search_view
from domino_onnx.report.speed import benchmark_document, benchmark_view
from domino_onnx.report.sweep import sweep_document, sweep_view
from domino_onnx.report.verified import verify_document, verify_view
from domino_onnx.scheme import Plan, Site, Skip
from domino_onnx.targets import Diagnosis

__all__ = [
    "BenchmarkResult",
    "DoctorResult",
    "EvaluateResult",
    "InspectResult",
    "SearchResult",
    "SweepResult",
    "VerifyResult",
]


class SearchResult(Result[results.SearchResult]):
    """A plan, and the way to it."""

    _shown = ("sparsity", "flops_saved", "strategy")

    @property
    def plan(self) -> Plan:
        """The scheme of every weight; `apply` takes it."""
        return self._found.plan

    @property
    def strategy(self) -> str:
        """What chose the schemes."""
        return self._found.plan.strategy

    @property
    def sparsity(self) -> float:
        """Share of zeros that the plan comes to, over all weights that count."""
        return self._found.inventory.sparsity(self.plan.schemes)

    @property
    def flops_saved(self) -> float | None:
        """Share of the MACs that it saves; None where shapes are unknown."""
        return self._found.inventory.flops_saved(self.plan.schemes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def _document(self) -> dict[str, Any]:
        return search_document(self._found)

    def _view(self) -> RenderableType:
        return search_view(self._told())


class SweepResult(Result[results.SweepResult]):
    """Plans from dense to sparse, and what each is worth."""

    _shown = ("sparsities", "drops")

    @property
    def trials(self) -> tuple[Trial, ...]:
        """In the order of their shares of zeros."""
        return self._found.trials

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Share of zeros of each."""
        return tuple(round(trial.planned_sparsity, 4) for trial in self.trials)

    @property
    def drops(self) -> tuple[float, ...]:
        """What each loses of its metric, 0 to 1."""
        return tuple(round(trial.comparison.drop, 4) for trial in self.trials)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def to_html(self) -> str:
        """The report with its plot."""
        return self._page(sweep_page(self._found))

    def _document(self) -> dict[str, Any]:
        return sweep_document(self._found)

    def _view(self) -> RenderableType:
        return sweep_view(self._told())


class EvaluateResult(Result[Evaluation]):
    """How far the answers of two models are apart."""

    _shown = ("metric", "drop", "samples")

    @property
    def metric(self) -> str:
        """What `drop` is told in: your own metric, top-1 where there are labels, else the worst output's."""
        return self._found.comparison.metric

    @property
    def drop(self) -> float:
        """What the second model loses of it, 0 to 1; less than 0 for a gain."""
        return self._found.comparison.drop

    @property
    def samples(self) -> int:
        """On how many it was measured."""
        return self._found.comparison.samples

    def is_within(self, max_drop: Share) -> bool:
        """Whether no more than that is lost: 0.01, or ``"1%"``. OptionError for what is no share."""
        return self._found.comparison.is_within(share_of("is_within", "max_drop", max_drop))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def _document(self) -> dict[str, Any]:
        return evaluate_document(self._found)

    def _view(self) -> RenderableType:
        return evaluation_view(self._told())


class InspectResult(Result[results.InspectResult]):
    """What of a model can be pruned."""

    _shown = ("params", "macs", "sparsity", "opset")

    @property
    def sites(self) -> tuple[Site, ...]:
        """The weights that can be pruned."""
        return self._found.inventory.sites

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """All others, with the reasons."""
        return self._found.inventory.skips

    @property
    def inputs(self) -> tuple[results.Port, ...]:
        """Names, types and shapes."""
        return self._found.inputs

    @property
    def outputs(self) -> tuple[results.Port, ...]:
        """The same of the outputs."""
        return self._found.outputs

    @property
    def shares(self) -> tuple[results.OperatorShare, ...]:
        """What the file is made of, by kind of operator."""
        return self._found.shares

    @property
    def params(self) -> int:
        """Weights of Conv, ConvTranspose, Gemm and MatMul."""
        return self._found.inventory.params

    @property
    def macs(self) -> int | None:
        """Of them all; None where shapes are unknown."""
        return self._found.inventory.macs

    @property
    def sparsity(self) -> float:
        """Share of zeros that there are already."""
        return self._found.inventory.sparsity({})

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self._found.file.opset

    def _document(self) -> dict[str, Any]:
        return inspect_document(self._found)

    def _view(self) -> RenderableType:
        return inspect_view(self._told())


class DoctorResult(Result[results.DoctorResult]):
    """Which weights a runtime's sparse kernels can run."""

    _shown = ("passes", "states")

    @property
    def passes(self) -> bool:
        """Whether some weight can run so, and none that was pruned misses it for its groups."""
        return self._found.passes

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """Of each weight, with what to do."""
        return self._found.diagnoses

    @property
    def states(self) -> dict[str, int]:
        """How many weights are legal, broken, dense or not eligible."""
        states = [diagnosis.state for diagnosis in self.diagnoses]
        return {state: states.count(state) for state in sorted(set(states))}

    def _document(self) -> dict[str, Any]:
        return doctor_document(self._found)

    def _view(self) -> RenderableType:
        return doctor_view(self._told())


class VerifyResult(Result[Verdict]):
    """Whether a model holds what its manifest says."""

    _shown = ("holds", "problems")

    @property
    def holds(self) -> bool:
        """Whether all of it holds; False without a manifest."""
        return self._found.holds

    @property
    def problems(self) -> tuple[str, ...]:
        """What doesn't."""
        return self._in_words(self._found.problems)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Weight by weight."""
        return self._found.findings

    def _document(self) -> dict[str, Any]:
        return verify_document(self._found)

    def _view(self) -> RenderableType:
        return verify_view(self._told())


class BenchmarkResult(Result[results.BenchmarkResult]):
    """Models side by side."""

    _shown = ("speedups",)

    @property
    def rows(self) -> tuple[results.BenchmarkRow, ...]:
        """A model with a number of threads and a batch: seconds of a run, and of the first load."""
        return self._told().rows

    @property
    def speedups(self) -> tuple[float, ...]:
        """Of each row over the first model with the same threads and batch."""
        return tuple(round(row.speedup, 3) for row in self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def _document(self) -> dict[str, Any]:
        return benchmark_document(self._found)

    def _view(self) -> RenderableType:
        return benchmark_view(self._told())

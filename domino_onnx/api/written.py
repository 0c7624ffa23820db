"""The models that functions give, with what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from domino_onnx.api.models import WrittenModel
from domino_onnx.api.result import Places, Result
from domino_onnx.evaluate import Evaluation
from domino_onnx.report import results
from domino_onnx.report.compressed import compress_view
from domino_onnx.report.compressed_document import compress_document
from domino_onnx.report.converted import convert_document, convert_view
from domino_onnx.report.page import compress_page
from domino_onnx.report.results import DeployedLayer, Trial, WeightRecord
from domino_onnx.report.speed import deploy_document, deploy_view
from domino_onnx.scheme import Plan, Skip

__all__ = ["CompressResult", "ConvertResult", "DeployResult"]


class CompressResult(Result[results.CompressResult], WrittenModel):
    """A pruned model, and what it is worth."""

    _shown = ("sparsity", "metric", "drop", "nbytes")

    def __init__(self, found: results.CompressResult, places: Places, made_of: tuple[Path, ...]) -> None:
        Result.__init__(self, found, places)
        WrittenModel.__init__(self, found.output, made_of)

    @property
    def sparsity(self) -> float:
        """Share of zeros among all weights of Conv, ConvTranspose, Gemm and MatMul, counted in the model."""
        return self._found.sparsity

    @property
    def flops_saved(self) -> float | None:
        """Share of the MACs that the zeros save in theory; None where shapes are unknown."""
        return self._found.flops_saved

    @property
    def weights(self) -> tuple[WeightRecord, ...]:
        """What each weight got: its scheme, its zeros, and what its refit lost."""
        return self._found.weights

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """The weights that stay as they are, with the reasons."""
        return self._found.inventory.skips

    @property
    def plan(self) -> Plan:
        """The scheme of every weight; `apply` takes it."""
        return self._found.plan

    @property
    def evaluation(self) -> Evaluation | None:
        """The comparison with the dense model; None if it couldn't be run."""
        return self._found.parity

    @property
    def metric(self) -> str | None:
        """What `drop` is told in; None where nothing but random inputs was compared."""
        return None if self._judged is None else self._judged.comparison.metric

    @property
    def drop(self) -> float | None:
        """What is lost of `metric`, 0 to 1, less than 0 for a gain; None as there."""
        return None if self._judged is None else self._judged.comparison.drop

    @property
    def nbytes(self) -> int:
        """Of the model's files."""
        return self._found.nbytes

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The plans that were tried, where `max_drop` was given."""
        return self._found.trials

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of each stage."""
        return self._found.seconds

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    @property
    def deployed(self) -> DeployResult | None:
        """The model for the CPU, where ``deploy="cpu"`` asked for one and it could be made."""
        second = self._found.deployed
        return None if second is None else DeployResult(second, self._places, self.made_of, keeper=self)

    def to_html(self) -> str:
        """The report, as ``--report FILE.html`` writes it."""
        return self._page(compress_page(self._found))

    @property
    def _judged(self) -> Evaluation | None:
        parity = self._found.parity
        return None if parity is None or parity.inputs == "random" else parity

    def _document(self) -> dict[str, Any]:
        return compress_document(self._found)

    def _view(self) -> RenderableType:
        return compress_view(self._told(), is_kept=False)


class ConvertResult(Result[results.ConvertResult], WrittenModel):
    """A model in another form or precision."""

    _shown = ("format", "nbytes_before", "nbytes")

    def __init__(self, found: results.ConvertResult, places: Places, made_of: tuple[Path, ...]) -> None:
        Result.__init__(self, found, places)
        WrittenModel.__init__(self, found.output, made_of)

    @property
    def format(self) -> str:
        """How weights are stored now."""
        return self._found.form

    @property
    def nbytes_before(self) -> int:
        """Of the files that were read."""
        return self._found.bytes_before

    @property
    def nbytes(self) -> int:
        """Of the model's files now."""
        return self._found.bytes_after

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def _document(self) -> dict[str, Any]:
        return convert_document(self._found)

    def _view(self) -> RenderableType:
        return convert_view(self._told())


class DeployResult(Result[results.DeployResult], WrittenModel):
    """A model for the CPU, with operators that skip zeros. `session` runs it."""

    _shown = ("speedup", "error", "nbytes")

    def __init__(
        self, found: results.DeployResult, places: Places, made_of: tuple[Path, ...], keeper: object = None
    ) -> None:
        Result.__init__(self, found, places)
        WrittenModel.__init__(self, found.output, made_of, keeper)

    @property
    def speedup(self) -> float:
        """How many times as fast as before."""
        return self._found.dense / self._found.deployed

    @property
    def error(self) -> float | None:
        """The largest difference from an output of the file without optimisation, as a share of its largest value.

        None where no output holds a finite float.
        """
        return self._found.error

    @property
    def layers(self) -> tuple[DeployedLayer, ...]:
        """What was timed, and chosen."""
        return self._found.layers

    @property
    def nbytes(self) -> int:
        """Of the model's files."""
        return self._found.nbytes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to know of it."""
        return self._in_words(self._found.warnings)

    def _document(self) -> dict[str, Any]:
        return deploy_document(self._found)

    def _view(self) -> RenderableType:
        return deploy_view(self._told())

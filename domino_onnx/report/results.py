"""What a run has to tell: the values that reports are made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.evaluate import Evaluation
from domino_onnx.graph import OnnxFile, Outcome
from domino_onnx.scheme import Inventory, Manifest, NMScheme, Plan
from domino_onnx.search import Decision, Prediction
from domino_onnx.storage import Form

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness
    from domino_onnx.recovery import Recovery  # which, as the bridge, needs torch; a report doesn't

__all__ = ["CompressResult", "ConvertResult", "InspectResult", "SearchResult", "WeightRecord"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightRecord:
    """One pruned site as it was written; `error` is the share of its output's energy that its refit lost, if any."""

    name: str
    weight: str
    scope: tuple[str, ...]
    op: str
    shape: tuple[int, ...]
    scheme: NMScheme
    params: int
    zeros: int
    macs: int | None
    error: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """A model's inventory, the file it was taken of, and whether it can be finetuned where that was asked."""

    file: OnnxFile
    inventory: Inventory
    manifest: Manifest | None
    bridge: Readiness | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """A file that was written in another form; sizes are those of all files of a model, in bytes.

    `outcomes` tells how each weight is stored now, and is empty for a dense file.
    """

    model: Path
    output: Path
    before: Form
    form: Form
    bytes_before: int
    bytes_after: int
    outcomes: tuple[Outcome, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A plan, how it was found, and what it is expected to cost where that was measured."""

    plan: Plan
    inventory: Inventory
    decisions: tuple[Decision, ...]
    prediction: Prediction | None
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompressResult:
    """What was written and what it is worth.

    Attributes
    ----------
    sparsity
        Zeros over all Conv, ConvTranspose, Gemm and MatMul weights, skipped ones included, counted in what was written.
    sparsity_sites
        The same over the sites alone.
    flops_reduction
        Share of the MACs that the zeros save in theory; None where shapes are unknown.
    solver
        How masks and weights were really found: ``"refit"``, ``"sparsegpt"`` or ``"magnitude"``.
    divergence
        Of the outputs after the refit from the dense ones, on the calibration data (KL or relative error).
    prediction
        What the plan was expected to cost; None if the strategy doesn't measure.
    seconds, peaks
        Of each stage: how long it took, and the most memory the process had had by its end, in bytes.
    parity
        The written file against the dense one in ONNX Runtime; None if it could not be run (see `warnings`).
    form, nbytes
        How weights are stored in what was written, and the bytes of all its files.
    """

    model: Path
    output: Path
    plan: Plan
    inventory: Inventory
    weights: tuple[WeightRecord, ...]
    sparsity: float
    sparsity_sites: float
    flops_reduction: float | None
    solver: str
    divergence: float | None
    prediction: Prediction | None
    decisions: tuple[Decision, ...]
    recovery: Recovery | None
    parity: Evaluation | None
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    warnings: tuple[str, ...]
    peak_rss_bytes: int | None
    form: Form = "dense"
    nbytes: int | None = None

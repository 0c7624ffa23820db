"""What a compression wrote, weight by weight, and what it is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.evaluate import Evaluation, SampledCheck
from domino_onnx.forecast import Forecast
from domino_onnx.options import CompressOptions
from domino_onnx.report.results.searched import Prediction
from domino_onnx.report.results.speed import DeployResult
from domino_onnx.report.results.trials import Trial
from domino_onnx.scheme import Inventory, NMScheme, Plan, WeightKey
from domino_onnx.search import Decision, LossTable
from domino_onnx.targets import TwoFourCost

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned  # which needs torch; a report doesn't

__all__ = ["CompressResult", "FileSizes", "WeightRecord"]


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

    @property
    def label(self) -> str:
        """Weight and node, as all reports name it."""
        return WeightKey(self.weight, self.scope).read_by(self.name)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileSizes:
    """Bytes of all files of a model before and after.

    Attributes
    ----------
    before_gzipped, after_gzipped
        As `gzip` leaves them; None for large models.
    packed
        Of the model that was written, with its zeros left out; None for large models.
    """

    before: int
    after: int
    before_gzipped: int | None = None
    after_gzipped: int | None = None
    packed: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompressResult:
    """What was written and what it is worth.

    Attributes
    ----------
    sparsity
        Zeros over all Conv, ConvTranspose, Gemm and MatMul weights, skipped ones included, counted in what was written.
    sparsity_sites
        The same over the sites alone.
    flops_saved
        Share of the MACs that the counted zeros save in theory; None where shapes are unknown.
    planned_sparsity, planned_flops_saved
        The same as the plan has them: a pruned site counts with its scheme's zeros, all others with those they were
        read with. What was written has as many zeros, or more.
    solver
        How masks and weights were really found: ``"refit"``, ``"sparsegpt"``, ``"magnitude"``, or ``"file"``.
    divergence
        Of the outputs after the refit from the dense ones, on the calibration data (KL or relative error).
    prediction
        What the refitted weights were worth before finetuning; None if that couldn't be measured.
    two_four
        What TensorRT's rule would take, where the target is another.
    seconds, peaks
        Of each stage: how long it took without the stages inside it, and the bytes of memory that the process, or the
        largest of its children, had had resident at most by its end.
    took
        Seconds of the whole run, with what lies between its stages.
    parity
        The written file against the dense one in ONNX Runtime; None if it could not be run (see `warnings`).
    sampled
        What was looked at instead, of a model that is too large to be run on random inputs.
    judge_seen
        Whether that was on samples that the weights were fitted to, and looks better than it is.
    peak_rss_bytes
        The same by the end of the run; None on systems that don't say.
    nbytes
        Of all files that were written.
    losses
        What each scheme of each weight was measured to cost; None where nothing was measured.
    options
        All that was asked for, with the steps that finetuning planned: the recipe that leads to the same file again.
    sizes
        Of the files before and after; None if they couldn't be looked at.
    trials
        What was tried to find the plan, where a largest loss was given.
    drawn
        What each input was taken to be where samples were drawn; empty with real data.
    forecast
        What it was expected to cost, before the work began; None where that wasn't known.
    deployed
        The second file, for the CPU, where one was asked for and could be made.
    """

    model: Path
    output: Path
    plan: Plan
    inventory: Inventory
    weights: tuple[WeightRecord, ...]
    sparsity: float
    sparsity_sites: float
    flops_saved: float | None
    planned_sparsity: float
    planned_flops_saved: float | None
    solver: str
    divergence: float | None
    prediction: Prediction | None
    decisions: tuple[Decision, ...]
    finetuned: Finetuned | None
    parity: Evaluation | None
    sampled: SampledCheck | None
    judge_seen: bool
    two_four: TwoFourCost | None
    seconds: Mapping[str, float]
    took: float
    peaks: Mapping[str, int]
    warnings: tuple[str, ...]
    peak_rss_bytes: int | None
    nbytes: int
    options: CompressOptions
    losses: LossTable | None = None
    sizes: FileSizes | None = None
    trials: tuple[Trial, ...] = ()
    drawn: tuple[str, ...] = ()
    forecast: Forecast | None = None
    deployed: DeployResult | None = None

    @property
    def loses_much(self) -> bool:
        """Whether the comparison shows a loss that a user is warned of; never by random inputs, nor within the goal."""
        if self.parity is None or self.parity.inputs == "random":
            return False
        allowed, comparison = self.options.goal.max_drop, self.parity.comparison
        return comparison.loses_much and not (allowed is not None and comparison.is_within(allowed))

"""What a run has to tell: the values that reports are made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from domino_onnx.evaluate import Evaluation, SampledCheck
from domino_onnx.forecast import Forecast
from domino_onnx.graph import OnnxFile, WeightForm
from domino_onnx.options import CompressOptions
from domino_onnx.outputs import Comparison
from domino_onnx.precision import Conversion
from domino_onnx.report.text import lost_in_words, percent, printable, score_in_words
from domino_onnx.runtime import Profile
from domino_onnx.scheme import Budget, Inventory, Manifest, NMScheme, Plan, Skip, WeightKey
from domino_onnx.search import Decision, LossTable
from domino_onnx.storage import FileForm, Form
from domino_onnx.targets import BuildLog, Diagnosis, TwoFourCost

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness
    from domino_onnx.finetuning import Finetuned  # which, as the bridge, needs torch; a report doesn't

__all__ = [
    "BenchmarkResult",
    "BenchmarkRow",
    "CompressResult",
    "ConvertResult",
    "DeployPrecision",
    "DeployResult",
    "DeployedLayer",
    "DoctorResult",
    "FileSizes",
    "InspectResult",
    "OperatorShare",
    "Port",
    "Prediction",
    "SearchResult",
    "SweepResult",
    "Trial",
    "WeightRecord",
]

_FEWEST = 32
_LARGEST_ERROR = 0.05 / 3
"""Samples, and the standard error of a share, that make a prediction worth printing: 5 points are three errors."""


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
class Port:
    """An input or an output of a model. `axes` are sizes and names, ``?`` for neither; None if any number fits."""

    name: str
    dtype: str
    axes: tuple[str, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.axes is None else " x ".join(self.axes) or "one number"
        return printable(f"{self.name} ({self.dtype}: {shape})", 120)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """What one kind of operator has of a model's files: bytes, their share, and the share in weights to prune."""

    op: str
    nbytes: int
    share: float
    prunable: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """A model's inventory, the file it was taken of, and whether it can be finetuned where that was asked.

    Attributes
    ----------
    inputs, outputs
        As the model declares them.
    shares
        What the files are made of, the largest share first.
    forecast, forecast_samples
        What a default run with so many samples would cost; None where shapes are unknown, or nothing can be pruned.
    """

    file: OnnxFile
    inventory: Inventory
    manifest: Manifest | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    shares: tuple[OperatorShare, ...]
    forecast: Forecast | None
    forecast_samples: int
    bridge: Readiness | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """A file that was written in another form; sizes are those of all files of a model, in bytes.

    `weight_forms` tells how each weight is stored now, and is empty for a dense file.
    """

    model: Path
    output: Path
    before: FileForm
    form: Form
    conversion: Conversion
    bytes_before: int
    bytes_after: int
    weight_forms: tuple[WeightForm, ...]
    warnings: tuple[str, ...]


DeployPrecision = Literal["auto", "float32", "int8"]
"""What deployed layers may compute in: float32, exact up to rounding, or int8 as well, where that is faster; auto takes
int8 where the outputs stay close, too."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployedLayer:
    """A product with a stored weight: seconds of each kind by itself, the kind that was chosen, and why.

    Attributes
    ----------
    skips
        Whether it has zeros to skip. Others are deployed for what their neighbours gain.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    zeros: float
    skips: bool
    seconds: Mapping[str, float]
    chosen: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployResult:
    """A file that was written for the CPU.

    Attributes
    ----------
    threads
        With which all was timed; 0 for as many as ONNX Runtime takes.
    kept
        Name, operator and reason of products that stay with ONNX Runtime.
    dense, deployed
        Seconds of a run of the model that was read, and of the one that was written, run in turns: of the processor
        with one thread, else of the wall clock.
    error
        The largest difference of their outputs on those inputs, as a share of an output's largest value.
    divergence, judges
        How far their outputs are apart on samples that nothing was calibrated on (`OutputDivergence`), and how many;
        None where no layer has 8 bits, or nothing judged them.
    activations
        How many that no layer took are one operator each.
    bits
        What became of 8 bits, in words.
    """

    model: Path
    output: Path
    threads: int
    precision: DeployPrecision
    layers: tuple[DeployedLayer, ...]
    kept: tuple[tuple[str, str, str], ...]
    dense: float
    deployed: float
    error: float
    divergence: float | None
    judges: int
    activations: int
    bits: str
    nbytes: int
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """A model with a number of threads and a batch: seconds of a run (median and quartiles), and of the first load.

    `profile` tells of its operators and its memory, where that was asked for.
    """

    model: Path
    threads: int
    batch: int
    median: float
    low: float
    high: float
    rounds: int
    load: float
    speedup: float
    profile: Profile | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Models side by side; `speedup` of each row is over the first model with the same threads and batch."""

    rows: tuple[BenchmarkRow, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DoctorResult:
    """What a runtime will make of a model's weights.

    Attributes
    ----------
    skips
        Weights that can't be judged, with the reasons.
    log
        What the builder really did, where its log was given.
    """

    model: Path
    diagnoses: tuple[Diagnosis, ...]
    skips: tuple[Skip, ...]
    log: BuildLog | None

    @property
    def passes(self) -> bool:
        """Whether some weight can run with sparse kernels, and none that was pruned misses it for its groups."""
        states = [diagnosis.state for diagnosis in self.diagnoses]
        return "broken" not in states and "legal" in states


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What new data will show of refitted weights: measured on samples that nothing learned from, before finetuning.

    Attributes
    ----------
    metric, score, drop
        What was measured, the value, and how far that is below the dense model's.
    standard_error
        Of the score; None where it is no share of the samples.
    samples
        How many it was measured on.
    """

    metric: str
    score: float
    drop: float
    standard_error: float | None
    samples: int

    @classmethod
    def of(cls, comparison: Comparison | None) -> Prediction | None:
        """None if nothing was measured, or so few samples can't tell."""
        if comparison is None or comparison.samples < _FEWEST or not math.isfinite(comparison.drop):
            return None
        error = comparison.standard_error
        if error is not None and error > _LARGEST_ERROR:
            return None
        return cls(
            metric=comparison.metric,
            score=comparison.dense_score - comparison.drop,
            drop=comparison.drop,
            standard_error=error,
            samples=comparison.samples,
        )

    def in_words(self) -> str:
        """For people."""
        score = score_in_words(self.metric, self.score, self.standard_error)
        return f"{score} on {self.samples} samples that nothing learned from, before any finetuning"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A plan, how it was found, and what it is expected to lose where that was measured."""

    plan: Plan
    inventory: Inventory
    decisions: tuple[Decision, ...]
    prediction: Prediction | None
    options: CompressOptions
    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    forecast: Forecast | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A budget that was tried, without finetuning.

    Attributes
    ----------
    planned_sparsity, planned_flops_saved
        Shares of zeros and of MACs saved that its plan comes to, over all weights that count; of MACs only where
        shapes are known.
    divergence
        How far apart the outputs were after the refit, on calibration data.
    comparison
        With the dense model, on data set apart.
    bytes, bytes_gzipped
        Of the model's files with zeros in place, and as `gzip` leaves them.
    """

    budget: Budget
    plan: Plan
    planned_sparsity: float
    planned_flops_saved: float | None
    divergence: float | None
    comparison: Comparison
    bytes: int
    bytes_gzipped: int

    def in_words(self, max_drop: float | None = None) -> str:
        """On one line, for people; where a largest loss was given, whether the plan stays within it."""
        lost = lost_in_words(self.comparison.metric, self.comparison.drop)
        said = f"tried {percent(self.planned_sparsity)} zeros: {lost} is lost"
        if max_drop is None:
            return said
        verdict = "accepted" if self.comparison.is_within(max_drop) else "too much"
        return f"{said}, {verdict} ({percent(max_drop, 2)} allowed)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """Plans from dense to sparse, and what each is worth.

    Attributes
    ----------
    dense_bytes, dense_bytes_gzipped
        Of the model's files as they are.
    trials
        In the order of their budgets.
    drawn
        What each input was taken to be where drawn samples judge.
    forecast
        As of `CompressResult`.
    """

    model: Path
    dense_bytes: int
    dense_bytes_gzipped: int
    trials: tuple[Trial, ...]
    options: CompressOptions
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    forecast: Forecast | None = None


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

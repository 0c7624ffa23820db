"""The groups of options: what each field means, which values it takes, and its default.

Command line, recipe files and the Python API read all three from here. A group checks itself when it is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from msgspec import Meta

from domino_onnx.codec import check_fields
from domino_onnx.errors import OptionError
from domino_onnx.options.duration import Duration
from domino_onnx.options.share import SHARE
from domino_onnx.options.size import ByteSize
from domino_onnx.options.threads import ThreadCount
from domino_onnx.outputs import OutputKind
from domino_onnx.scheme import OPTION, Budget, NMScheme, SchemePool
from domino_onnx.search import DominoOptions
from domino_onnx.solve import MaskRule
from domino_onnx.storage import Form
from domino_onnx.targets import Target

__all__ = [
    "MEASURED",
    "NO_DATA",
    "DataOptions",
    "Device",
    "FinetuneOptions",
    "Goal",
    "LossKind",
    "Method",
    "OutputOptions",
    "Precision",
    "RunOptions",
    "SearchOptions",
    "Solver",
    "SolverOptions",
    "Strategy",
    "TargetOptions",
    "WeightType",
]

Strategy = Literal["auto", "sensitivity", "measured-domino", "domino", "erk", "uniform"]
MEASURED: tuple[Strategy, ...] = ("sensitivity", "measured-domino")
"""Strategies that go by measured losses."""
Solver = Literal["refit", "sparsegpt", "magnitude"]
Precision = Literal["keep", "fp16"]
WeightType = Literal["keep", "int8"]
Device = Literal["auto", "cpu", "cuda"]
Method = Literal["fixed", "sr-ste"]
LossKind = Literal["auto", "kl", "mse", "cosine"]

NO_DATA = Path("none")
"""What `calibration` is where no samples shall be taken, drawn ones neither."""

_Share = Annotated[float, Meta(ge=0, le=1)]
_Positive = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=1)]
_NotNegative = Annotated[int, Meta(ge=0)]
_Axis = Annotated[int, Meta(ge=0)]


class _Group:
    """Checks every field against its annotation as soon as the group is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check_fields(self, OptionError)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goal(_Group):
    """How sparse the model becomes: budgets, a largest loss, one scheme, or a plan. Give one of the four.

    Raises
    ------
    OptionError
        For two answers to this one question, and for a budget of 0.
    BudgetError
        For a budget that is not between 0 and 1.
    """

    sparsity: Annotated[
        float | None,
        Meta(description="Zeros over all Conv/Gemm/MatMul weights: 0.875 or 87.5%.", extra={SHARE: True}),
    ] = None
    flops_reduction: Annotated[
        float | None, Meta(description="Share of the MACs to save: 0.5 or 50%.", extra={SHARE: True})
    ] = None
    max_drop: Annotated[
        _Share | None,
        Meta(
            description="Most zeros that cost at most this much: 0.01 is a point of top-1, agreement, cosine or "
            "relative error.",
            extra={SHARE: True},
        ),
    ] = None
    scheme: Annotated[NMScheme | None, Meta(description="One scheme for every weight, for instance 2:4.")] = None
    plan: Annotated[Path | None, Meta(description="Take the schemes from this plan.")] = None

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
        if nothing := [OPTION[budget.measure] for budget in self.budgets if not budget.reduction]:
            raise OptionError(f"{nothing[0]} 0 asks for nothing: give a share above 0")
        given = [name for name, value in self._answers().items() if value]
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} contradict each other: give one of them")

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets in parameters and in MACs that are asked for."""
        params = () if self.sparsity is None else (Budget(measure="params", reduction=self.sparsity),)
        flops = () if self.flops_reduction is None else (Budget(measure="flops", reduction=self.flops_reduction),)
        return (*params, *flops)

    @property
    def is_given(self) -> bool:
        """Whether anything says how sparse the model becomes."""
        return any(self._answers().values())

    def _answers(self) -> dict[str, bool]:
        budgets = " and ".join(OPTION[budget.measure] for budget in self.budgets)
        return {
            budgets: bool(self.budgets),
            "--max-drop": self.max_drop is not None,
            "--scheme": self.scheme is not None,
            "--plan": self.plan is not None,
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions(_Group):
    """What the program learns from, and what it judges by."""

    calibration: Annotated[
        Path | None,
        Meta(
            description="Samples to learn from: .npz, a folder of them or of .npy, or images with a "
            "preprocessing.yaml. Default: drawn ones. none: no samples."
        ),
    ] = None
    drawn: Annotated[
        _NotNegative | None,
        Meta(description="Images drawn to join the samples in search and refit. Default: 512 for few samples."),
    ] = None
    evaluation: Annotated[
        Path | None, Meta(description="Other samples to judge by; with labels they give the top-1.")
    ] = None
    metric: Annotated[
        str | None,
        Meta(description="Your own metric of (reference, candidate, labels); higher is better."),
    ] = None
    output_kinds: Annotated[
        Mapping[str, OutputKind],
        Meta(description=f"Its kind: {', '.join(get_args(OutputKind))}."),
    ] = dataclasses.field(default_factory=dict)
    input_shapes: Annotated[
        Mapping[str, tuple[_Count, ...]],
        Meta(description="Shape of an input without data. Axes of the same names follow."),
    ] = dataclasses.field(default_factory=dict)

    batch_axes: Annotated[
        Mapping[str, _Axis | Literal["none"]],
        Meta(description="Axis that counts samples, from 0; none: all share it."),
    ] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Where the samples are; None if none were given."""
        return None if self.calibration == NO_DATA else self.calibration

    @property
    def tells_shapes(self) -> bool:
        """Whether samples that were given tell the shapes of inputs, whatever `input_shapes` says."""
        return self.path is not None or (not self.draws and self.evaluation is not None)

    @property
    def draws(self) -> bool:
        """Whether samples are drawn."""
        return self.calibration is None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions(_Group):
    """What the pruned file is for, and which weights may be pruned."""

    runtime: Annotated[
        Target | None,
        Meta(description="Runtime that the masks must suit. Default: the plan's, else generic."),
    ] = None
    speed_only: Annotated[bool, Meta(description="Leave dense what the target cannot speed up.")] = False
    include: Annotated[tuple[str, ...], Meta(description="Prune only weights or nodes whose name matches.")] = ()
    exclude: Annotated[tuple[str, ...], Meta(description="Leave weights or nodes dense whose name matches.")] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions(_Group):
    """How the schemes are chosen."""

    pool: Annotated[
        SchemePool | None,
        Meta(description="Schemes to choose from, as 2:4,1:4. Default: 1:16,2:16,4:16,8:16."),
    ] = None
    strategy: Annotated[
        Strategy,
        Meta(
            description="sensitivity and measured-domino go by measured losses, domino by DominoSearch, erk and "
            "uniform by densities. auto: sensitivity with data, domino without."
        ),
    ] = "auto"
    gradients: Annotated[bool, Meta(description="Let domino use gradients where there are data.")] = True
    domino: Annotated[DominoOptions, Meta(description="Hyper-parameters of DominoSearch.")] = dataclasses.field(
        default_factory=DominoOptions
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SolverOptions(_Group):
    """How masks and weights are found for the chosen schemes."""

    method: Annotated[
        Solver,
        Meta(description="refit: masks and least squares, layer by layer. sparsegpt and magnitude are for comparison."),
    ] = "refit"
    masks: Annotated[
        MaskRule,
        Meta(description="How the refit, and losses that are measured, choose the weights of each group that stay."),
    ] = "admm"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions(_Group):
    """How the pruned weights are trained, taught by the dense model.

    Raises
    ------
    OptionError
        If both `steps` and `time` are given.
    """

    enabled: Annotated[bool, Meta(description="Finetune after pruning; needs data and torch.")] = True
    steps: Annotated[
        _Count | None,
        Meta(description="Exactly so many steps. Default: as samples and time allow."),
    ] = None
    time: Annotated[
        Duration | None,
        Meta(description="About so long at most, for instance 90s, 10m or 1h. Default: 10m."),
    ] = None
    early_stop: Annotated[
        bool | None,
        Meta(description="End where the held-out loss has stopped falling. Default: unless steps are given."),
    ] = None
    lr: Annotated[_Positive | None, Meta(description="Peak learning rate. Default: a few are tried.")] = None
    scope: Annotated[
        Literal["model", "blocks", "both"],
        Meta(description="Train the whole model, or blocks of a few weights one by one, or blocks first."),
    ] = "model"
    method: Annotated[
        Method,
        Meta(description="fixed: zeros stay zeros. sr-ste: masks may move under the same scheme."),
    ] = "fixed"
    loss: Annotated[
        LossKind,
        Meta(description="How outputs are compared with the dense model's. auto: by what each output is."),
    ] = "auto"
    temperature: Annotated[_Positive, Meta(description="Softens class scores before they are compared.")] = 2.0
    label_weight: Annotated[_Share, Meta(description="Share of the loss that labels have, where there are any.")] = 0.5
    mix: Annotated[bool, Meta(description="Learn from mixtures of two samples (float inputs only).")] = True
    precision: Annotated[
        Literal["float32", "tf32", "bfloat16"],
        Meta(description="What training multiplies in. tf32 needs an NVIDIA GPU. Weights and steps stay float32."),
    ] = "float32"

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
        self._require_one_length()

    def _require_one_length(self) -> None:
        if self.steps is not None and self.time is not None:
            raise OptionError("--finetune-steps and --finetune-time contradict each other: give one of them")

    @property
    def stops_early(self) -> bool:
        """Whether training may end before its planned steps."""
        return self.steps is None if self.early_stop is None else self.early_stop


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions(_Group):
    """How the file is written."""

    format: Annotated[
        Form, Meta(description="dense: zeros in place. packed: zeros left out; standard operators expand them.")
    ] = "dense"
    precision: Annotated[Precision, Meta(description="fp16: half precision, float32 at inputs and outputs.")] = "keep"
    weights: Annotated[WeightType, Meta(description="int8: integers and a scale for each output channel.")] = "keep"
    deploy: Annotated[
        Literal["cpu"] | None, Meta(description="Also write OUTPUT.cpu.onnx, where zeros are skipped.")
    ] = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(_Group):
    """How the work is done. Only `batch_size` and `seed` can change what comes out."""

    batch_size: Annotated[int, Meta(ge=1, description="Samples in one run of the model.")] = 32
    device: Annotated[Device, Meta(description="Where torch and ONNX Runtime run. auto: each on a GPU if it can.")] = (
        "auto"
    )
    threads: Annotated[ThreadCount, Meta(description="Threads to use; 0: all cores.")] = 0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Seed of all randomness.")] = 0
    memory: Annotated[
        ByteSize | None,
        Meta(description="About the most memory to take: 4GB. Default: half of what is free."),
    ] = None
    scratch: Annotated[Path | None, Meta(description="Folder for what doesn't fit into memory.")] = None
    checkpoint: Annotated[
        Path | None, Meta(description="Folder for what is found on the way. Default: OUTPUT.partial.")
    ] = None
    checkpoint_after: Annotated[
        float, Meta(ge=0, description="Seconds that a run lasts before OUTPUT.partial is made.")
    ] = 20.0
    checkpoint_every: Annotated[float, Meta(ge=0, description="Seconds between two saved states of a stage.")] = 30.0
    resume: Annotated[bool, Meta(description="Go on from what an interrupted run has found.")] = False

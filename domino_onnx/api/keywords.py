"""The keywords of each function, for type checkers and editors; `domino_onnx.options` has defaults and meanings.

docs/options.md describes each. A test compares them with the fields of the option groups.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from domino_onnx.options import ByteSize, Device, Duration, LossKind, Method, Precision, Solver, Strategy, WeightType
from domino_onnx.outputs import OutputKind
from domino_onnx.scheme import NMScheme, Plan, SchemePool
from domino_onnx.solve import MaskRule
from domino_onnx.storage import Form
from domino_onnx.targets import Target

__all__ = [
    "AnyPlan",
    "ApplyKeywords",
    "BenchmarkKeywords",
    "CompressKeywords",
    "DeployKeywords",
    "EvaluateKeywords",
    "FinetuneFileKeywords",
    "InspectKeywords",
    "MetricFunction",
    "PathLike",
    "Samples",
    "SearchKeywords",
    "Share",
    "SweepKeywords",
]

PathLike: TypeAlias = str | os.PathLike[str]


class HasArray(Protocol):
    """What numpy makes an array of: a tensor of torch, for instance."""

    def __array__(self) -> NDArray[Any]: ...


class HasPlan(Protocol):
    """What has a plan: the result of `search` or `compress`, or one of the `trials` of `sweep`."""

    @property
    def plan(self) -> Plan: ...


AnyPlan: TypeAlias = Plan | HasPlan | PathLike
"""A plan, what has one, or its file."""
Array: TypeAlias = NDArray[Any] | HasArray
Samples: TypeAlias = PathLike | Array | Mapping[str, Array] | Iterable[Any]
"""A path; an array for a model of one input; arrays by input, and `labels`; or feeds, as a DataLoader gives them."""
MetricFunction: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any], NDArray[np.int64] | None], float]
"""Of all outputs of the dense model and of the other one by name, and of the labels: the higher, the better."""
Share: TypeAlias = float | str
"""0.5, or ``"50%"``."""


class _Goal(TypedDict, total=False):
    sparsity: Share | None
    flops_reduction: Share | None
    max_drop: Share | None
    scheme: NMScheme | str | None
    plan: AnyPlan | None


class _Axes(TypedDict, total=False):
    batch_axes: Mapping[str, int | Literal["none"]]


class _Learns(_Axes, total=False):
    data: Samples | None
    input_shapes: Mapping[str, Sequence[int]]


class _Judges(_Axes, total=False):
    metric: MetricFunction | str | None
    output_kinds: Mapping[str, OutputKind]


class _Judged(_Judges, total=False):
    drawn: int | None
    eval_data: Samples | None


class _Picks(TypedDict, total=False):
    include: str | Sequence[str]
    exclude: str | Sequence[str]


class _Target(_Picks, total=False):
    target: Target | None
    speed_only: bool


class _Pool(TypedDict, total=False):
    pool: SchemePool | NMScheme | str | Sequence[NMScheme | str] | None


class _Search(_Pool, total=False):
    strategy: Strategy
    gradients: bool
    domino: Mapping[str, Any]


class _Solver(TypedDict, total=False):
    solver: Solver
    masks: MaskRule


class _Finetune(TypedDict, total=False):
    finetune: bool


class _Training(TypedDict, total=False):
    finetune_steps: int | None
    finetune_time: Duration | str | int | None
    finetune_early_stop: bool | None
    finetune_lr: float | None
    finetune_scope: Literal["model", "blocks", "both"]
    finetune_method: Method
    finetune_loss: LossKind
    finetune_temperature: float
    finetune_label_weight: Share
    finetune_mix: bool
    finetune_precision: Literal["float32", "tf32", "bfloat16"]


class _Output(TypedDict, total=False):
    format: Form
    precision: Precision
    weights: WeightType
    deploy: Literal["cpu"] | None


class _Seed(TypedDict, total=False):
    seed: int


class _Threads(_Seed, total=False):
    threads: int


class _Runs(_Threads, total=False):
    batch_size: int
    device: Device


class _Run(_Runs, total=False):
    memory: ByteSize | str | int | None
    scratch: PathLike | None


class _Kept(TypedDict, total=False):
    checkpoint: PathLike | None
    checkpoint_after: float
    checkpoint_every: float
    resume: bool


class CompressKeywords(_Goal, _Learns, _Judged, _Target, _Search, _Solver, _Finetune, _Training, _Output, _Run, _Kept):
    """Of `compress`: every option of a recipe."""


class SearchKeywords(_Goal, _Learns, _Judged, _Target, _Search, _Solver, _Run):
    """Of `search`."""


class SweepKeywords(_Learns, _Judged, _Target, _Search, _Solver, _Run, _Kept):
    """Of `sweep`."""


class ApplyKeywords(_Learns, _Judged, _Target, _Solver, _Output, _Run, _Kept):
    """Of `apply`."""


class FinetuneFileKeywords(_Learns, _Judged, _Training, _Output, _Run, _Kept):
    """Of `finetune`."""


class EvaluateKeywords(_Judges, _Runs):
    """Of `evaluate`."""


class InspectKeywords(_Learns, _Picks, _Pool, _Threads):
    """Of `inspect`."""


class DeployKeywords(_Learns, _Threads):
    """Of `deploy`."""


class BenchmarkKeywords(_Learns, _Seed):
    """Of `benchmark`, whose threads and batch sizes are several."""

"""What is wanted of a run, and who listens to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from domino_onnx.graph import Selection
from domino_onnx.precision import Lowering, Precision, WeightType
from domino_onnx.scheme import Budget, NMScheme, SchemePool
from domino_onnx.search import DominoOptions
from domino_onnx.solve import Criterion
from domino_onnx.storage import Form
from domino_onnx.targets import Target

if TYPE_CHECKING:
    from domino_onnx.runtime import Device

__all__ = ["CompressOptions", "Observer", "Solver", "Strategy"]

Strategy = Literal["auto", "sensitivity", "measured-domino", "domino", "erk", "uniform"]
Solver = Literal["refit", "sparsegpt", "magnitude"]


class Observer(Protocol):
    """Who wants to hear of progress; `compress` and its sisters are silent without one."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the stage is."""

    def warn(self, message: str) -> None:
        """Something the user should know, that doesn't stop the work."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions:
    """What to do with a model; the command line's options, one by one.

    Attributes
    ----------
    budgets
        What the model must come down to, at most one a measure. Empty with a `plan`, a `scheme` or `max_drop`.
    max_drop
        Instead of budgets: as many zeros as cost no more than this of the metric (`Comparison.drop`), 0 to 1, on
        `eval_data` or, without, on a quarter of `data` that nothing else learns from.
    strategy
        ``auto`` measures (`sensitivity`) where there are data, and is `domino` without.
    pool
        The schemes that sites may get.
    scheme
        One for all sites, and the whole pool: `budgets`, `strategy` and `pool` don't count then.
    target
        The runtime that masks must suit; None: the one that a plan or a file was made for, else ``generic``.
    speed_only
        Leave dense what the target can't speed up.
    solver
        How masks and weights are found where there are data: `refit` layer by layer in graph order, `sparsegpt` with
        its own mask and update on the dense network's inputs, or `magnitude` masks alone.
    saliency
        What decides which weights of a group stay when they are refitted (`domino_onnx.solve.choose_mask`).
    search_with_data
        Whether `domino` uses gradients where there are data.
    recover
        Finetune after pruning, where there are data and torch; the options that begin with `recover_` are
        `domino_onnx.finetuning.RecoveryOptions` and `LossOptions`.
    form
        How weights are stored in the output: zeros in place, or packed (docs/format.md).
    precision
        What the output computes in: as the model does, or in float16 (docs/decisions/precision.md).
    weights
        What the output stores weights as: as the model does, or as int8 with a scale for each output channel.
    checkpoint
        A folder to keep what an interrupted run needs to go on, every `checkpoint_every` steps of the finetuning and
        when SIGINT or SIGTERM comes; without, an interrupted run leaves nothing.
    resume
        Go on from what is in `checkpoint`; from the beginning if nothing is.
    """

    budgets: tuple[Budget, ...] = ()
    max_drop: float | None = None
    strategy: Strategy = "auto"
    pool: SchemePool = dataclasses.field(default_factory=SchemePool.fixed_m)
    scheme: NMScheme | None = None
    target: Target | None = None
    speed_only: bool = False
    solver: Solver = "refit"
    saliency: Criterion = "admm"
    domino: DominoOptions = dataclasses.field(default_factory=DominoOptions)
    selection: Selection = dataclasses.field(default_factory=Selection)
    input_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    data: Path | None = None
    eval_data: Path | None = None
    search_with_data: bool = True
    plan: Path | None = None
    recover: bool = True
    recover_steps: int = 500
    recover_lr: float | None = None
    recover_scope: Literal["model", "blocks", "both"] = "model"
    recover_method: Literal["fixed", "sr-ste"] = "fixed"
    recover_optimizer: Literal["auto", "adamw", "sgd"] = "auto"
    recover_ema: float = 0.0
    recover_loss: Literal["auto", "kl", "mse", "cosine"] = "auto"
    recover_temperature: float = 2.0
    recover_label_weight: float = 0.5
    recover_feature_weight: float = 0.0
    recover_mix: bool = True
    recover_precision: Literal["float32", "bfloat16"] = "float32"
    form: Form = "dense"
    precision: Precision = "keep"
    weights: WeightType = "keep"
    checkpoint: Path | None = None
    checkpoint_every: int = 100
    resume: bool = False
    batch_size: int = 32
    device: Device = "auto"
    threads: int = 0
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.scheme is not None:
            object.__setattr__(self, "pool", SchemePool.single(self.scheme))

    @property
    def lowering(self) -> Lowering:
        """What the output is written in."""
        return Lowering(precision=self.precision, weights=self.weights)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files and folders that are read besides the model."""
        return tuple(path for path in (self.data, self.eval_data, self.plan) if path is not None)

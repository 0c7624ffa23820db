"""How to finetune, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import WeightKey

__all__ = [
    "FinetuneOptions",
    "FinetuneStep",
    "Finetuned",
    "LossKind",
    "LossOptions",
    "Method",
    "OptimizerName",
    "Precision",
]

Method = Literal["fixed", "sr-ste"]
OptimizerName = Literal["auto", "adamw", "sgd"]
Precision = Literal["float32", "bfloat16"]
"""What the student computes in; `bfloat16` where torch's autocast holds it safe. Weights and steps stay float32."""
LossKind = Literal["auto", "kl", "mse", "cosine"]
PROBED_RATES: Mapping[str, tuple[float, ...]] = {
    "adamw": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "sgd": (1e-3, 3e-3, 1e-2, 3e-2),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """How to finetune.

    Attributes
    ----------
    steps
        Optimizer steps.
    batch_size
        Samples a step.
    lr
        Peak learning rate; linear warm-up over a twentieth of the steps, then a cosine to zero. None tries a few
        (`PROBED_RATES`), a short course each, and takes the largest whose held-out loss is near the lowest: networks
        differ by a factor of ten, and finetuning at a wrong rate loses accuracy.
    method
        ``fixed``: what is zero stays zero. ``sr-ste``: masks may move under their scheme, by magnitude; gradients reach
        pruned weights too, which are pulled to zero (Zhou et al., ICLR 2021).
    optimizer
        ``adamw`` without weight decay, or ``sgd`` with momentum 0.9. ``auto`` is AdamW, but SGD for ``sr-ste``: the
        second moments of Adam take the jumps of moving masks for noise (Lu et al., STEP, ICML 2023).
    pull
        SR-STE's strength: what pruned weights lose of themselves at each step, times the learning rate.
    clip
        Largest gradient norm.
    ema
        Decay of a running mean of the weights, which is what is judged and written then; 0 for none.
    checks
        How often the held-out part is looked at on the way.
    checkpoint_every
        Steps between two checkpoints, where there is a store for them.
    """

    steps: int = 500
    batch_size: int = 32
    lr: float | None = None
    method: Method = "fixed"
    optimizer: OptimizerName = "auto"
    pull: float = 2e-4
    clip: float = 1.0
    ema: float = 0.0
    checks: int = 10
    checkpoint_every: int = 100
    seed: int = 0

    @property
    def optimizer_name(self) -> str:
        """What `auto` comes to."""
        if self.optimizer != "auto":
            return self.optimizer
        return "sgd" if self.method == "sr-ste" else "adamw"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """What the student is taught by.

    Attributes
    ----------
    kind
        ``auto``: each output by what it looks like (`DistillationLoss`). ``kl``: floats are scores, the last axis tells
        classes apart. ``mse``: mean square error over the output's variance. ``cosine``: one minus the cosine along
        the last axis.
    temperature
        Of the softmax on logits (Hinton et al. 2015); probabilities are compared as they are.
    label_weight
        Share of the cross-entropy with labels where there are any, 0 to 1.
    feature_weight
        What the mean error of some activations inside the model counts beside the loss at the outputs; 0 leaves them
        alone (`feature_tensors`).
    mix
        Learn from mixtures of two samples, where all that tells samples apart is floats (`Mixture`).
    """

    kind: LossKind = "auto"
    temperature: float = 2.0
    label_weight: float = 0.5
    feature_weight: float = 0.0
    mix: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneStep:
    """Loss on the training batch after `step` steps; `held_out` where the held-out part was looked at."""

    step: int
    loss: float
    lr: float
    held_out: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What finetuning gave: the best state by the held-out part, which may be the one it was given.

    Attributes
    ----------
    values
        Of all weights and biases that were given.
    before, after
        Held-out loss of the given weights, and of these.
    lr
        The peak learning rate that was used first.
    steps
        How many led to where it ended; those that it stepped back from don't count.
    best_step
        The step these weights are from; 0 if finetuning never improved on what it was given.
    halvings
        How often it diverged, stepped back to the best state and went on at half the rate.
    diverged
        Whether it diverged once more after that, which ended it.
    blocks
        How many parts of the model were trained one by one; 0 if the model was trained as a whole.
    frozen
        Weights that were left as they were given: integers, and what none of these parts could train.
    """

    values: Mapping[WeightKey, NDArray[np.generic]]
    before: float
    after: float
    lr: float
    steps: int
    best_step: int
    history: tuple[FinetuneStep, ...]
    halvings: int = 0
    diverged: bool = False
    blocks: int = 0
    frozen: tuple[WeightKey, ...] = ()

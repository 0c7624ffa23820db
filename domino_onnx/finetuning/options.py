"""How to finetune, in values that need no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["FinetuneOptions", "LossKind", "Method", "Precision", "Scope", "TrainingRun"]

Scope = Literal["model", "blocks", "both"]
Method = Literal["fixed", "sr-ste"]
LossKind = Literal["auto", "kl", "mse", "cosine"]
Precision = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """How to finetune.

    Attributes
    ----------
    steps
        Optimizer steps; in blocks, of each block.
    lr
        Peak learning rate: linear warm-up over a twentieth of the steps, then a cosine to zero. None tries a few
        (`choose_rate`).
    scope
        Train the ``model`` as a whole, in ``blocks`` towards the dense activations, or ``both``: in blocks first.
    method
        ``fixed``: what is zero stays zero. The optimizer is AdamW without weight decay.
        ``sr-ste``: masks may move under their scheme, by magnitude. Gradients reach pruned weights too, which are
        pulled to zero (Zhou et al., ICLR 2021). The optimizer is SGD with momentum, because Adam's second moments take
        the jumps of moving masks for noise (Lu et al., STEP, ICML 2023).
    loss
        ``auto``: each output by what it looks like (`DistillationLoss`). ``kl``: floats are scores, the last axis tells
        classes apart. ``mse``: mean square error over the output's variance. ``cosine``: one minus the cosine along
        the last axis.
    temperature
        Of the softmax on logits (Hinton et al. 2015); probabilities are compared as they are.
    label_weight
        Share of the cross-entropy with labels where there are any, 0 to 1.
    mix
        Learn from mixtures of two samples, where all that tells samples apart is floats (`Mixture`).
    precision
        What the student computes in. ``bfloat16``: where torch's autocast holds it safe. Weights and optimizer stay
        float32.
    """

    steps: int = 500
    lr: float | None = None
    scope: Scope = "model"
    method: Method = "fixed"
    loss: LossKind = "auto"
    temperature: float = 2.0
    label_weight: float = 0.5
    mix: bool = True
    precision: Precision = "float32"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What finetuning shares with the other stages of a run.

    Attributes
    ----------
    batch_size
        Samples a step.
    seed
        Decides the order of the samples.
    checkpoint_every
        Steps between two checkpoints, where there is a file for them.
    """

    batch_size: int = 32
    seed: int = 0
    checkpoint_every: int = 100

"""Finetuning in torch under the masks, taught by the dense model."""

from domino_onnx.recover.distill import Distillation, open_distillation
from domino_onnx.recover.finetune import Recovery, RecoveryOptions, RecoveryStep, finetune
from domino_onnx.recover.gradients import DistillationGradients

__all__ = [
    "Distillation",
    "DistillationGradients",
    "Recovery",
    "RecoveryOptions",
    "RecoveryStep",
    "finetune",
    "open_distillation",
]

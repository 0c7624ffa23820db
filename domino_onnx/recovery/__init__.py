"""Finetuning in torch under the masks, taught by the dense model."""

from domino_onnx.recovery.distill import Distillation, open_distillation
from domino_onnx.recovery.finetune import Recovery, RecoveryOptions, RecoveryStep, finetune
from domino_onnx.recovery.fisher import fisher_information
from domino_onnx.recovery.gradients import DistillationGradients

__all__ = [
    "Distillation",
    "DistillationGradients",
    "Recovery",
    "RecoveryOptions",
    "RecoveryStep",
    "finetune",
    "fisher_information",
    "open_distillation",
]

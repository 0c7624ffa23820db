"""Finetuning in torch under the masks, taught by the dense model."""

from domino_onnx.finetuning.blocks import BlockOptions, recover_blocks
from domino_onnx.finetuning.distill import Distillation, open_distillation, torch_device
from domino_onnx.finetuning.finetune import Store, finetune
from domino_onnx.finetuning.fisher import fisher_information
from domino_onnx.finetuning.gradients import DistillationGradients
from domino_onnx.finetuning.masks import Grouping
from domino_onnx.finetuning.options import LossOptions, Method, OptimizerName, Recovery, RecoveryOptions, RecoveryStep
from domino_onnx.finetuning.world import World

__all__ = [
    "BlockOptions",
    "Distillation",
    "DistillationGradients",
    "Grouping",
    "LossOptions",
    "Method",
    "OptimizerName",
    "Recovery",
    "RecoveryOptions",
    "RecoveryStep",
    "Store",
    "World",
    "finetune",
    "fisher_information",
    "open_distillation",
    "recover_blocks",
    "torch_device",
]

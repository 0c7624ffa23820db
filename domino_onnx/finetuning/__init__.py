"""Finetuning in torch under the masks, taught by the dense model."""

from domino_onnx.finetuning.blocks import BlockOptions, finetune_blocks
from domino_onnx.finetuning.distill import Distillation, open_distillation, torch_device
from domino_onnx.finetuning.finetune import Store, finetune
from domino_onnx.finetuning.fisher import fisher_information
from domino_onnx.finetuning.gradients import DistillationGradients
from domino_onnx.finetuning.masks import Grouping
from domino_onnx.finetuning.options import Finetuned, FinetuneOptions, FinetuneStep, LossOptions, Method, OptimizerName
from domino_onnx.finetuning.world import World

__all__ = [
    "BlockOptions",
    "Distillation",
    "DistillationGradients",
    "FinetuneOptions",
    "FinetuneStep",
    "Finetuned",
    "Grouping",
    "LossOptions",
    "Method",
    "OptimizerName",
    "Store",
    "World",
    "finetune",
    "finetune_blocks",
    "fisher_information",
    "open_distillation",
    "torch_device",
]

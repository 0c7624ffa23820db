"""Finetuning in torch under the masks, taught by the dense model."""

from domino_onnx.finetuning.blocks import finetune_blocks
from domino_onnx.finetuning.devices import torch_device, torch_objection
from domino_onnx.finetuning.distill import Distillation
from domino_onnx.finetuning.finetune import finetune
from domino_onnx.finetuning.gradients import DistillationGradients
from domino_onnx.finetuning.masks import WeightGroups
from domino_onnx.finetuning.opening import open_distillation
from domino_onnx.finetuning.processes import Processes
from domino_onnx.finetuning.results import Finetuned, FinetuneStep
from domino_onnx.finetuning.saved import CheckpointFile, saved_progress

__all__ = [
    "CheckpointFile",
    "Distillation",
    "DistillationGradients",
    "FinetuneStep",
    "Finetuned",
    "Processes",
    "WeightGroups",
    "finetune",
    "finetune_blocks",
    "open_distillation",
    "saved_progress",
    "torch_device",
    "torch_objection",
]

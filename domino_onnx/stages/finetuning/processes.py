"""Several processes that torch's launcher started: the first one works, the others help it to finetune."""

from __future__ import annotations

import os

from domino_onnx.options import Device, FinetuneOptions
from domino_onnx.scheme import WeightArrays

__all__ = ["Job", "is_assistant", "tell_others"]

Job = tuple[str, WeightArrays, WeightArrays, FinetuneOptions]
"""A plan as JSON, the weights and biases that it came to, and how they are trained."""


def is_assistant() -> bool:
    """Whether torch's launcher started this process to help another."""
    return int(os.environ.get("RANK", "0")) > 0


def tell_others(job: Job | None, device: Device) -> Job | None:
    """What the first process has to do, in all processes; None if there is nothing to finetune.

    Torch is only asked where there are several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return job
    from domino_onnx.finetuning import Processes, torch_device

    told: Job | None = Processes.current(torch_device(device)).from_first(job)
    return told

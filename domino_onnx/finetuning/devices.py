"""Where torch trains, and why not on a GPU where it can't."""

from __future__ import annotations

import os

import torch

from domino_onnx.errors import DependencyError
from domino_onnx.options import Device

__all__ = ["torch_device", "torch_objection"]


def torch_objection() -> str | None:
    """Why torch can't train on CUDA here; None if it can."""
    if torch.version.cuda is None:
        return f"this torch {torch.__version__} is built without CUDA; install a build with it"
    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no NVIDIA GPU; check that nvidia-smi lists one, and its driver's version"
        )
    return None


def torch_device(device: Device) -> torch.device:
    """The torch device for `--device`: with "auto" a GPU if there is one.

    Raises
    ------
    DependencyError
        If "cuda" is asked for and torch can't train there, or if torch's launcher started more processes than there
        are GPUs.
    """
    if device == "cpu":
        return torch.device("cpu")
    objection = torch_objection()
    if objection is not None:
        if device == "cuda":
            raise DependencyError(f"--device cuda: {objection}")
        return torch.device("cpu")
    own, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= count:
        raise DependencyError(
            f"process {own} has no GPU of its own: this machine has {count}. Start {count} processes "
            f"(--nproc-per-node={count}), or give --device cpu"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may add in another order each time
    torch.cuda.set_device(own)  # messages between processes go through the current device
    return torch.device("cuda", own)

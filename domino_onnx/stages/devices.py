"""Whether a run can be where `--device cuda` wants it, and what is said where torch is missing."""

from __future__ import annotations

from domino_onnx.errors import DependencyError
from domino_onnx.options import CompressOptions

__all__ = ["require_devices", "torch_missing"]


def require_devices(options: CompressOptions, *, trains: bool = False) -> None:
    """Refuse a GPU that a part of the work can't use, and say which part can.

    Parameters
    ----------
    trains
        Whether torch is needed as well. Where it is missing altogether, finetuning says so.

    Raises
    ------
    DependencyError
        If ONNX Runtime, or torch where it is needed, can't run on CUDA.
    """
    if options.run.device != "cuda":
        return
    from domino_onnx.runtime import cuda_objection

    running = cuda_objection()
    if running is None and not (trains and options.finetune.enabled):
        return
    try:
        from domino_onnx.finetuning import torch_objection

        training = torch_objection()
    except ImportError:
        training = None if running is None else "torch is missing"
    if running is None and training is None:
        return
    what = "; ".join(objection for objection in (running, training) if objection is not None)
    raise DependencyError(f"--device cuda: {what}. {_what_works(running, training)}")


def _what_works(running: str | None, training: str | None) -> str:
    if training is None:
        return "Torch can use the GPU: --device auto finetunes there, and runs ONNX Runtime on the CPU"
    if running is None:
        return "ONNX Runtime can use the GPU: --device auto searches and refits there, and finetunes on the CPU"
    return "Nothing can use a GPU here: --device auto runs on the CPU"


def torch_missing(error: ImportError) -> DependencyError:
    """What to tell a user who asks for finetuning without torch; the error itself, raised, if it isn't about torch."""
    if not (error.name or "").startswith("torch"):
        raise error
    return DependencyError(f"torch is missing ({error}): pip install 'domino-onnx[finetune]'")

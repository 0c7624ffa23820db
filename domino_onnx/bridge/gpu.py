"""What torch must be told on a GPU: float32 in full, sums in the same order each time, and that its memory is full."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from domino_onnx.errors import LESS_MEMORY, DeviceMemoryError

__all__ = ["full_memory_in_words", "is_out_of_memory", "same_arithmetic"]

_FULL = ("out of memory", "ALLOC_FAILED")
"""What CUDA and its libraries say where they, not torch's own allocator, are refused memory."""
_UNREPEATABLE = ".*(does not have a deterministic implementation|is not deterministic).*"


@contextlib.contextmanager
def same_arithmetic(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Within the block products of float32 keep all their bits on a GPU, and what can be repeated is.

    By itself torch lets cuDNN round what a convolution multiplies to TF32, 10 bits of 23, and choose sums whose order
    changes from run to run. Torch's settings are those of before afterwards. Nothing happens for the CPU.

    Parameters
    ----------
    tf32
        Round to TF32, convolutions and matrix products alike: faster, and a thousandth off.
    """
    if device.type != "cuda":
        yield
        return
    with _settings(_precisions(tf32=tf32)), _settings(_repeatable()), _deterministic():
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or one of its libraries was refused memory on a GPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _FULL)


@contextlib.contextmanager
def full_memory_in_words(doing: str) -> Iterator[None]:
    """Turn torch's error about a full GPU into DeviceMemoryError, which says what was being done and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(f"the GPU's memory is full while {doing} ({_first(error)}). {LESS_MEMORY}") from None


_Setting = tuple[Any, str, Any]
"""An object, the name of one of its attributes, and the value that it gets."""


def _precisions(*, tf32: bool) -> list[_Setting]:
    """Of convolutions, recurrent networks and matrix products.

    Torch has older and newer names for them (from 2.9 on), and refuses to read the older ones in a program that has
    set the newer ones. Then those are used here too.
    """
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    try:
        _ = cudnn.allow_tf32, products.allow_tf32
    except RuntimeError:
        word = "tf32" if tf32 else "ieee"
        return [(place, "fp32_precision", word) for place in (cudnn.conv, cudnn.rnn, products)]
    return [(place, "allow_tf32", tf32) for place in (cudnn, products)]


def _repeatable() -> list[_Setting]:
    cudnn = torch.backends.cudnn
    return [
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
        (torch.utils.deterministic, "fill_uninitialized_memory", False),
    ]


@contextlib.contextmanager
def _settings(wanted: list[_Setting]) -> Iterator[None]:
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Repeatable kernels where torch has them; the others run as they are, and are not warned of."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_UNREPEATABLE)
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]

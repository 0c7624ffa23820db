"""One process, or several that torch's launcher started, which together train like one."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.errors import ProcessError

__all__ = ["Processes"]

_PATIENCE = dt.timedelta(days=1)
"""Process 0 searches and refits while the others wait."""


class Processes:
    """The processes that take part.

    Every process has the same weights and does the same steps; each computes the gradients of its share of a batch,
    and all add them up, as torch's DistributedDataParallel does. That one isn't used because it hooks into a module's
    own parameters, and what is stepped here are float32 copies of them under masks.

    Attributes
    ----------
    rank, size
        This process's number, from 0, and how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def current(cls, device: torch.device | None = None) -> Processes:
        """Those that `torchrun` tells of in the environment; joined on the first call."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not dist.is_available():
            return cls()
        if not dist.is_initialized():
            backend = "nccl" if device is not None and device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE)
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, samples: NDArray[np.int64], unit: int = 1) -> NDArray[np.int64]:
        """The share of this process of the samples, of which `unit` at a time stay together."""
        if self.size == 1:
            return samples
        return samples[: len(samples) // unit * unit].reshape(-1, unit)[self.rank :: self.size].reshape(-1)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """In place: the sum over all processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _lost_touch_is_an_error():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Each number's sum over all processes."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=device)
        with _lost_touch_is_an_error():
            dist.all_reduce(together)
        return [float(value) for value in together]

    def from_first(self, thing: Any) -> Any:
        """What process 0 has here, in all."""
        if self.size == 1:
            return thing
        held = [thing]
        with _lost_touch_is_an_error():
            dist.broadcast_object_list(held, src=0)
        return held[0]


def _leave() -> None:
    """Close the connections before the interpreter ends: gloo's threads would abort the process else."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def _lost_touch_is_an_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            "lost touch with the other processes: one of them failed, which it says, or it was killed, most likely "
            f"because the machine's memory ran out ({error}). Start fewer processes, or give a smaller --batch-size"
        ) from None

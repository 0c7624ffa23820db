"""What torch saves of a forward pass for the way back: in memory as far as there is room, the rest on the disk.

Each step computes the same bits as with all of it in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from domino_onnx.forecast.backward import SAVED_SHARE, WITH_GRADIENTS
from domino_onnx.runtime import Held, Room, Scratch, give_back_memory

__all__ = ["SavedTensors"]

_TRIMMED = 256 << 20
"""Bytes that pass through the disk between two calls that give freed memory back to the system."""


class SavedTensors:
    """Decides for each forward pass whether what it saves stays in memory.

    Nothing happens on a GPU, nor in a room without a limit.

    Parameters
    ----------
    module
        Its parameters and buffers are in memory anyway.
    """

    def __init__(self, module: torch.nn.Module, room: Room, device: torch.device) -> None:
        self._module = module
        self._room = room
        self._is_limited = room.memory is not None and device.type == "cpu"
        self._inputs = 0
        self._saved = 0

    @contextlib.contextmanager
    def kept(self, inputs: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """What is saved within the block, whose forward pass gets these inputs.

        Raises
        ------
        ScratchError
            Also on the way back, if the disk has no room.
        """
        size = sum(array.nbytes for array in inputs.values())
        if not self._is_limited or not torch.is_grad_enabled() or (size <= self._inputs and self._fits()):
            yield
            return
        give_back_memory()
        one = _Pass(self._room.scratch(share=SAVED_SHARE), self._module)
        with torch.autograd.graph.saved_tensors_hooks(one.pack, one.unpack):
            yield
        self._inputs, self._saved = max(self._inputs, size), max(self._saved, one.saved)

    def _fits(self) -> bool:
        """Whether there is room for as much as the largest pass so far has saved, with its gradients."""
        needed = int(WITH_GRADIENTS * self._saved)
        if self._room.has(needed):
            return True
        give_back_memory()
        return self._room.has(needed)


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class _Storage:
    """The bytes behind one or several tensors, which are kept once."""

    living: StorageWeakRef
    held: Held


@dataclasses.dataclass(frozen=True, slots=True)
class _Saved:
    """A tensor without its bytes."""

    storage: _Storage
    dtype: torch.dtype
    offset: int
    shape: torch.Size
    strides: tuple[int, ...]


class _Pass:
    """One forward pass and its way back.

    Attributes
    ----------
    saved
        Bytes of all storages that were saved.
    """

    def __init__(self, scratch: Scratch, module: torch.nn.Module) -> None:
        self._scratch = scratch
        self._own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
        self._storages: weakref.WeakValueDictionary[int, _Storage] = weakref.WeakValueDictionary()
        self._passed = 0
        self.saved = 0

    def pack(self, tensor: Tensor) -> Tensor | _Saved:
        """A tensor as it is kept until the way back."""
        if tensor.layout is not torch.strided or tensor.untyped_storage().data_ptr() in self._own:
            return tensor
        return _Saved(
            self._kept(tensor.untyped_storage()),
            tensor.dtype,
            int(tensor.storage_offset()),
            tensor.shape,
            tensor.stride(),
        )

    def unpack(self, saved: Tensor | _Saved) -> Tensor:
        """The tensor."""
        if isinstance(saved, Tensor):
            return saved
        array = saved.storage.held.load()
        self._trim_after(array.nbytes)
        storage = torch.from_numpy(array).untyped_storage()
        return torch.empty(0, dtype=saved.dtype).set_(storage, saved.offset, saved.shape, saved.strides)

    def _kept(self, storage: torch.UntypedStorage) -> _Storage:
        place = storage.data_ptr()
        known = self._storages.get(place)
        if known is not None and not known.living.expired():  # type: ignore[no-untyped-call]
            return known
        array: NDArray[np.uint8] = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        made = self._storages[place] = _Storage(StorageWeakRef(storage), self._scratch.hold(array))  # type: ignore[no-untyped-call]
        self.saved += array.nbytes
        self._trim_after(array.nbytes)
        return made

    def _trim_after(self, size: int) -> None:
        """Tensors that went to the disk, or came from it, leave holes in the heap."""
        self._passed += size if self._scratch.written else 0
        if self._passed > _TRIMMED:
            self._passed = 0
            give_back_memory()

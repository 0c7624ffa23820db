"""The dense and the pruned network, run block by block in ONNX Runtime on the same batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Split
from domino_onnx.errors import ModelError
from domino_onnx.finetuning.block_student import BlockStudent, block_model, block_module
from domino_onnx.finetuning.cutting import block_starts
from domino_onnx.finetuning.devices import torch_device
from domino_onnx.graph import OnnxFile, cut, stored_tensors
from domino_onnx.options import Device
from domino_onnx.runtime import Activations, Carried, Room, SegmentRunner
from domino_onnx.scheme import WeightArrays, WeightKey

__all__ = ["Networks"]

_TRAINING = 16
"""How many times as large as the activations of a batch is what training a block on it takes, with gradients."""


class Networks:
    """Both networks, with the activations of all batches ahead of the same block.

    Each batch has training samples alone or held-out ones alone.

    Parameters
    ----------
    file
        The dense model.
    weights, biases
        Of the pruned network, where it differs from the dense one.
    most_weights
        Of `weights` in one block.
    room
        Where the activations are kept.

    Attributes
    ----------
    count
        Number of blocks; number 0 is before the first node.
    """

    def __init__(
        self,
        file: OnnxFile,
        split: Split,
        weights: WeightArrays,
        biases: WeightArrays,
        *,
        batch_size: int,
        most_weights: int,
        device: Device,
        threads: int,
        room: Room,
    ) -> None:
        self._file = file
        self._device: Device = device
        self._values: dict[WeightKey, NDArray[np.generic]] = {**weights, **biases}
        stored = stored_tensors(file.proto)
        self._file_values = {key.name: file.array(stored[key]) for key in self._values if not key.scope}
        starts = block_starts(file, {key.name for key in weights}, most_weights)
        self._blocks = cut(file, starts)
        self.count = len(self._blocks)
        self._walk = SegmentRunner(file, starts, self._file_values, device=device, threads=threads)
        self._room = room
        self._begin(split, batch_size)

    @property
    def values(self) -> WeightArrays:
        """The pruned network's weights and biases as they are now."""
        return self._values

    def change(self, values: WeightArrays) -> None:
        """Go on with other weights and biases in the pruned network."""
        self._values |= values

    def own(self, block: int) -> list[WeightKey]:
        """The weights and biases that this block reads and no other does."""
        others = set().union(*(each.constants for place, each in enumerate(self._blocks) if place != block))
        mine = self._blocks[block].constants - others
        return [key for key in self._values if not key.scope and key.name in mine]

    def pass_dense(self, block: int) -> Carried:
        """Run the block in the dense network; what it makes of each batch."""
        made = Carried(self._scratch, len(self._dense))
        for batch in range(len(self._dense)):
            made[batch] = self._pass(block, self._dense, batch, {})
        return made

    def pass_pruned(self, block: int) -> None:
        """Run the block in the pruned network, with its values as they are now."""
        changed = {key.name: value for key, value in self._values.items() if not key.scope}
        for batch in range(len(self._pruned)):
            self._pass(block, self._pruned, batch, changed)

    def student(self, block: int, wanted: Sequence[Activations]) -> BlockStudent | None:
        """The block in torch ahead of `pass_pruned`, to learn what `pass_dense` gave; None where torch can't run it."""
        inputs, device = self._pruned.only(self._blocks[block].inputs), torch_device(self._device)
        model = block_model(self._file, self._blocks[block], inputs[0], wanted[0])
        try:
            proofs = [(inputs[batch], self._made_by_file(block, batch, wanted[0])) for batch in self._telling]
        except ModelError:
            return None
        module = block_module(model, proofs, self._values, device)
        if module is None:
            return None
        return BlockStudent(
            module,
            inputs,
            wanted,
            train=self._batches.train,
            held_out=self._batches.held_out,
            device=device,
            room=self._room,
        )

    def _begin(self, split: Split, batch_size: int) -> None:
        """Make the batches, and run what comes before the first block."""
        self._batches = split.batches(batch_size)
        sizes = [split.fit.extent(samples[:1]) for samples in self._batches.samples]
        self._telling = sorted({sizes.index(min(sizes)), sizes.index(max(sizes))})
        first = self._ahead(split, 0)
        self._scratch = self._room.scratch(_TRAINING * sum(array.nbytes for array in first.values()))
        self._dense = Carried(self._scratch, len(self._batches.samples))
        for batch in range(len(self._dense)):
            self._dense[batch] = self._ahead(split, batch)
        self._pruned = self._dense.some(range(len(self._dense)))

    def _ahead(self, split: Split, batch: int) -> Activations:
        """What is live of a batch ahead of the first block."""
        live = self._walk.run(0, split.fit.take(self._batches.samples[batch]), {}, self._file_values)
        return self._walk.release(0, live)

    def _made_by_file(self, block: int, batch: int, names: Collection[str]) -> Activations:
        """What the block makes of a batch of the pruned network with the file's own weights."""
        made = self._walk.run(block, self._pruned[batch], {}, self._file_values)
        return {name: made[name] for name in names}

    def _pass(self, block: int, network: Carried, batch: int, changed: Mapping[str, NDArray[Any]]) -> Activations:
        """Run a block on one batch of a network, carry its activations on, and give out what was made."""
        made = self._walk.run(block, network[batch], changed, self._file_values)
        network[batch] = self._walk.release(block, made)
        return {name: made[name] for name in self._blocks[block].outputs if name in made}

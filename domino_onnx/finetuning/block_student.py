"""One block in torch, with the activations that it learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TypeProto, helper
from torch import Tensor

from domino_onnx.bridge import GraphModule, build, check_parity, missing_operators
from domino_onnx.bridge.values import to_tensor
from domino_onnx.errors import ModelError
from domino_onnx.finetuning.processes import Processes
from domino_onnx.finetuning.saved_tensors import SavedTensors
from domino_onnx.graph import OnnxFile
from domino_onnx.graph.segments import Segment
from domino_onnx.runtime import Activations, Room
from domino_onnx.scheme import WeightKey

__all__ = ["BlockStudent", "block_model", "block_module"]

_TINY = 1e-8


class BlockStudent:
    """A block as `finetune` wants a student: its "samples" are whole batches.

    Parameters
    ----------
    inputs, wanted
        Of each batch: what the pruned network gives to the block, and what the dense network makes behind it.
    train, held_out
        Places of the batches to learn from and to judge by.
    room
        Where activations are kept for the way back.
    """

    def __init__(
        self,
        module: GraphModule,
        inputs: Sequence[Activations],
        wanted: Sequence[Activations],
        *,
        train: Sequence[int],
        held_out: Sequence[int],
        device: torch.device,
        room: Room,
    ) -> None:
        self.device = device
        self.module = module.to(device)
        self._saved = SavedTensors(self.module, room, device)
        self._inputs, self._wanted = inputs, wanted
        self._train, self._held_out = np.array(train, np.int64), np.array(held_out, np.int64)
        floats = [name for name, array in wanted[0].items() if array.dtype.kind == "f" and array.size]
        self._scales = {name: _variance([wanted[place][name] for place in train]) + _TINY for name in floats}

    def reached(self, keys: Iterable[WeightKey]) -> set[WeightKey]:
        """Those of these weights, as far as the block holds them, that a gradient comes to."""
        chosen = self.trainable(key for key in keys if key in self.module.weights)
        if not self._scales:  # no output of the block is a float, so that there is nothing to learn
            return set()
        loss = self._loss(int(self._train[0]))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        found = {key for key, parameter in chosen.items() if parameter.grad is not None}
        self.module.zero_grad(set_to_none=True)
        return found

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others."""
        return self.module.learn(keys)

    def backward(self, batch: NDArray[np.int64], _batch_size: int, processes: Processes, _draw: int, /) -> float:
        """Gradients of the mean loss over these batches; the mean loss."""
        total = 0.0
        for place in processes.share(batch):
            loss = self._loss(int(place)) / len(batch)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return processes.sums([total], self.device)[0]

    def held_out_loss(self, _batch_size: int, _samples: int | None, processes: Processes, /) -> float:
        """Mean loss over the held-out batches."""
        with torch.no_grad():
            total = sum(float(self._loss(int(place))) for place in processes.share(self._held_out))
        return processes.sums([total], self.device)[0] / len(self._held_out)

    def shuffled(self, _batch_size: int, seed: int, /) -> Iterator[NDArray[np.int64]]:
        """One training batch after the other without end; each epoch in a new order."""
        generator = np.random.default_rng(seed)
        while True:
            for place in generator.permutation(self._train):
                yield np.array([place])

    def epoch(self, _batch_size: int, /) -> int:
        """How many of those batches see each training sample once."""
        return len(self._train)

    def _loss(self, place: int) -> Tensor:
        inputs = self._inputs[place]
        with self._saved.kept(inputs):
            outputs = self.module({name: self._tensor(array) for name, array in inputs.items()})
            errors = [
                _squared_error(self._placed(outputs[name]), self._placed(to_tensor(self._wanted[place][name]))) / scale
                for name, scale in self._scales.items()
            ]
            return torch.stack(errors).sum()

    def _placed(self, output: Tensor) -> Tensor:
        """As float32, on the student's device: what is computed from shapes alone comes from the host."""
        return output.to(self.device).float()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return to_tensor(array).to(self.device)


def _squared_error(got: Tensor, wanted: Tensor) -> Tensor:
    """The mean where `wanted` is finite; 0 if there is nothing to compare, or one has more rows than the other."""
    if got.shape != wanted.shape or not got.numel():
        return got.new_zeros(())
    known = torch.isfinite(wanted)
    return torch.mean((got.where(known, 0) - wanted.where(known, 0)) ** 2)


def _variance(arrays: Sequence[NDArray[Any]]) -> float:
    """The mean variance of the finite values of each."""
    finite = (array[np.isfinite(array)] for array in arrays)
    return float(np.mean([values.var() if values.size else 0.0 for values in finite]))


def block_model(file: OnnxFile, segment: Segment, inputs: Activations, made: Activations) -> ModelProto:
    """The block as a model of its own, with the types of these inputs and outputs."""
    model = segment.model(file, {name: _type_of(inputs[name]) for name in segment.inputs})
    for value, array in zip(model.graph.output, made.values(), strict=False):
        value.type.CopyFrom(_type_of(array))
    return model


def block_module(
    model: ModelProto,
    proofs: Sequence[tuple[Activations, Activations]],
    values: Mapping[WeightKey, NDArray[np.generic]],
    device: torch.device,
) -> GraphModule | None:
    """The block in torch, with these values of its weights; None where torch can't run it as ONNX Runtime does.

    Parameters
    ----------
    proofs
        Batches, and what ONNX Runtime makes of each with the file's weights.
    device
        Where it is compared, and stays.
    """
    if not all(expected for _, expected in proofs) or missing_operators(model):
        return None
    try:
        module = build(model).to(device)
        if not all(check_parity(module, inputs, expected).ok for inputs, expected in proofs):
            return None
    except ModelError:
        return None
    with torch.no_grad():
        for key, value in values.items():
            if key in module.weights:
                module.weights[key].copy_(torch.from_numpy(value.astype(np.float64)))
    return module


def _type_of(array: NDArray[Any]) -> TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)

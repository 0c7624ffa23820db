"""Block after block: what can be trained around operators that can't, and models that don't fit as a whole.

The dense and the pruned network walk through the graph side by side in ONNX Runtime. Each block, a stretch of nodes
that torch has counterparts for, learns to make the dense network's activations out of what the pruned network before
it gives; what lies between blocks only runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TypeProto, helper
from torch import Tensor

from domino_onnx.bridge import GraphModule, build, check_parity, missing_operators
from domino_onnx.bridge.values import to_tensor
from domino_onnx.data import Dataset
from domino_onnx.errors import FinetuneError, ModelError
from domino_onnx.finetuning.distill import torch_device
from domino_onnx.finetuning.finetune import Store, finetune
from domino_onnx.finetuning.masks import Grouping
from domino_onnx.finetuning.options import Finetuned, FinetuneOptions, FinetuneStep
from domino_onnx.finetuning.world import World
from domino_onnx.graph import OnnxFile, cut
from domino_onnx.graph.order import constant_nodes, execution_order, names_read, stored_names
from domino_onnx.runtime import Device, Live, Walk, affordable
from domino_onnx.scheme import WeightKey

__all__ = ["BlockOptions", "finetune_blocks"]

_TINY = 1e-8

Values = Mapping[WeightKey, NDArray[np.generic]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockOptions:
    """How the model is cut up and run.

    Attributes
    ----------
    weights
        So many weights that are trained may stand in one block; more make another.
    held_out
        Share of the batches that decide which state of a block is kept.
    """

    weights: int = 8
    held_out: float = 0.15
    device: Device = "auto"
    threads: int = 0


def finetune_blocks(
    file: OnnxFile,
    data: Dataset,
    weights: Values,
    options: FinetuneOptions | None = None,
    progress: Callable[[FinetuneStep], None] | None = None,
    *,
    biases: Values | None = None,
    groupings: Mapping[WeightKey, Grouping] | None = None,
    blocks: BlockOptions | None = None,
    stores: Callable[[int], Store] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Finetuned:
    """Train each block's weights and biases for `steps` steps towards the dense activations behind it.

    Parameters
    ----------
    file
        The dense model.
    weights, biases, groupings, stopped
        As `finetune` has them.
    stores
        Where a block goes on from and saves to, by its number; blocks that were finished aren't trained again.

    Returns
    -------
    Losses are mean square errors over the variance, summed over the blocks' outputs and the blocks; `frozen` names the
    weights that no block holds alone, with those that no gradient reaches. Each block is never worse than it was given.

    Raises
    ------
    FinetuneError
        If no block can be trained.
    ModelError
        If ONNX Runtime can't run the model piece by piece.
    CheckpointError, KeyboardInterrupt
        As from `finetune`.
    """
    course = _Blocks(file, data, weights, biases or {}, groupings or {}, options or FinetuneOptions(), blocks)
    return course.run(progress or _nobody, stores or (lambda _: None), stopped)


class _Blocks:
    def __init__(
        self,
        file: OnnxFile,
        data: Dataset,
        weights: Values,
        biases: Values,
        groupings: Mapping[WeightKey, Grouping],
        options: FinetuneOptions,
        blocks: BlockOptions | None,
    ) -> None:
        self._file = file
        self._weights, self._biases = dict(weights), dict(biases)
        self._groupings = groupings
        self._options = options
        self._how = how = blocks or BlockOptions()
        names = {key.name for key in (*weights, *biases) if not key.scope}
        positions = _positions(file, {key.name for key in weights}, how.weights)
        self._segments = cut(file, positions)
        self._walk = Walk(file, positions, names, device=how.device, threads=how.threads)
        stored = {tensor.name: tensor for tensor in file.proto.graph.initializer}
        self._file_values = {name: file.array(stored[name]) for name in names if name in stored}
        self._dense = self._begin(data)
        self._pruned = [dict(live) for live in self._dense]
        self._done: list[Finetuned] = []
        self._trained: set[WeightKey] = set()

    def run(
        self,
        progress: Callable[[FinetuneStep], None],
        stores: Callable[[int], Store | None],
        stopped: Callable[[], bool] | None,
    ) -> Finetuned:
        for index in range(1, len(self._segments)):
            before = [dict(live) for live in self._pruned]
            made = [self._pass(index, self._dense, batch, {}) for batch in range(len(self._dense))]
            if self._own(index):
                self._train(index, before, made, progress, stores(index), stopped)
            for batch in range(len(self._pruned)):
                self._pass(index, self._pruned, batch, self._changed())
        if not self._done:
            raise FinetuneError("no part of the model that holds a pruned weight alone can be trained")
        return self._together()

    def _begin(self, data: Dataset) -> list[Live]:
        size = self._options.batch_size
        count = data.batch_count(size)
        first = self._walk.run(0, data.batch_at(0, size), {}, self._file_values)
        bytes_of_two = 2 * 4 * sum(value.nbytes for value in first.values())  # activations grow at first, then shrink
        chosen = affordable(count, bytes_of_two)
        places = (place * count // chosen for place in range(chosen))
        return [
            self._walk.release(0, self._walk.run(0, data.batch_at(place, size), {}, self._file_values))
            for place in places
        ]

    def _pass(self, index: int, side: list[Live], batch: int, changed: Mapping[str, NDArray[Any]]) -> Live:
        """Run a segment on one side's batch, carry its activations on, and give out what was made."""
        made = self._walk.run(index, side[batch], changed, self._file_values)
        side[batch] = self._walk.release(index, made)
        return {name: made[name] for name in self._segments[index].outputs if name in made}

    def _own(self, index: int) -> list[WeightKey]:
        """What is trained in this segment: what it reads and no other segment does."""
        others = set().union(*(s.constants for place, s in enumerate(self._segments) if place != index))
        mine = self._segments[index].constants - others
        return [key for key in (*self._weights, *self._biases) if not key.scope and key.name in mine]

    def _train(
        self,
        index: int,
        before: Sequence[Live],
        made: Sequence[Live],
        progress: Callable[[FinetuneStep], None],
        store: Store | None,
        stopped: Callable[[], bool] | None,
    ) -> None:
        student = self._student(index, before, made)
        if student is None:
            return
        own = [key for key in self._own(index) if key in student.module.weights]
        weights = {key: self._weights[key] for key in own if key in self._weights}
        biases = {key: self._biases[key] for key in own if key in self._biases}
        reached = student.reached(own) & weights.keys() if student.learns else set()
        if not reached:
            return
        self._trained |= reached
        done = sum(finetuned.steps for finetuned in self._done)

        def tell(step: FinetuneStep) -> None:
            progress(dataclasses.replace(step, step=done + step.step))

        finetuned = finetune(
            student,
            weights,
            self._options,
            tell,
            biases=biases,
            groupings=self._groupings,
            store=store,
            stopped=stopped,
        )
        self._weights |= {key: finetuned.values[key] for key in weights}
        self._biases |= {key: finetuned.values[key] for key in biases}
        self._done.append(finetuned)

    def _student(self, index: int, before: Sequence[Live], made: Sequence[Live]) -> _BlockStudent | None:
        """The segment in torch, proved equal to ONNX Runtime; None where it can't be had."""
        segment = self._segments[index]
        model = segment.model(self._file, {name: _type_of(before[0][name]) for name in segment.inputs})
        for value, array in zip(model.graph.output, made[0].values(), strict=False):
            value.type.CopyFrom(_type_of(array))
        if missing_operators(model):
            return None
        inputs = [{name: live[name] for name in segment.inputs} for live in before]
        try:
            module = build(model)
            given = self._walk.run(index, before[0], {}, self._file_values)
            expected = {name: given[name] for name in made[0]}
            if not expected or not check_parity(module, inputs[0], expected).ok:
                return None
        except ModelError:
            return None
        with torch.no_grad():
            for key, value in (*self._weights.items(), *self._biases.items()):
                if key in module.weights:
                    module.weights[key].copy_(torch.from_numpy(value.astype(np.float64)))
        return _BlockStudent(module, inputs, made, self._how, self._options.seed)

    def _changed(self) -> dict[str, NDArray[Any]]:
        both = (*self._weights.items(), *self._biases.items())
        return {key.name: value for key, value in both if key.name in self._file_values}

    def _together(self) -> Finetuned:
        history: list[FinetuneStep] = []
        for finetuned in self._done:
            first = len(history)
            history += [dataclasses.replace(step, step=first + step.step) for step in finetuned.history]
        return Finetuned(
            values={**self._weights, **self._biases},
            before=sum(finetuned.before for finetuned in self._done),
            after=sum(finetuned.after for finetuned in self._done),
            lr=max(finetuned.lr for finetuned in self._done),
            steps=len(history),
            best_step=sum(finetuned.best_step for finetuned in self._done),
            history=tuple(history),
            halvings=sum(finetuned.halvings for finetuned in self._done),
            diverged=any(finetuned.diverged for finetuned in self._done),
            blocks=len(self._done),
            frozen=tuple(key for key in self._weights if key not in self._trained),
        )


class _BlockStudent:
    """A block with its activations, as `finetune` wants a student: "samples" are whole batches.

    Attributes
    ----------
    learns
        Whether any output of the block is a float, so that there is something to learn.
    """

    def __init__(
        self, module: GraphModule, inputs: Sequence[Live], wanted: Sequence[Live], how: BlockOptions, seed: int
    ) -> None:
        self.device = torch_device(how.device)
        self.module = module.to(self.device)
        self._inputs, self._wanted = inputs, wanted
        floats = [name for name, array in wanted[0].items() if array.dtype.kind == "f" and array.size]
        self._scales = {name: float(np.mean([live[name].var() for live in wanted])) + _TINY for name in floats}
        self.learns = bool(floats)
        order = np.random.default_rng(seed).permutation(len(inputs))
        count = round(len(order) * how.held_out)
        self.train, self.held_out = (order[count:], np.sort(order[:count])) if count else (order, order)

    def reached(self, keys: Iterable[WeightKey]) -> set[WeightKey]:
        """Those of these weights that a gradient comes to."""
        chosen = self.trainable(keys)
        loss = self._loss(int(self.train[0]))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        found = {key for key, parameter in chosen.items() if parameter.grad is not None}
        self.module.zero_grad(set_to_none=True)
        return found

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others."""
        return self.module.learn(keys)

    def backward(self, batch: NDArray[np.int64], _batch_size: int, world: World, _draw: int, /) -> float:
        """Gradients of the mean loss over these batches; the mean loss."""
        total = 0.0
        for place in world.share(batch):
            loss = self._loss(int(place)) / len(batch)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return world.sums([total], self.device)[0]

    def held_out_loss(self, _batch_size: int, _samples: int | None, world: World, /) -> float:
        """Mean loss over the held-out batches."""
        with torch.no_grad():
            total = sum(float(self._loss(int(place))) for place in world.share(self.held_out))
        return world.sums([total], self.device)[0] / len(self.held_out)

    def shuffled(self, _batch_size: int, seed: int, /) -> Iterator[NDArray[np.int64]]:
        """One batch after the other without end; each epoch in a new order."""
        generator = np.random.default_rng(seed)
        while True:
            for place in generator.permutation(self.train):
                yield np.array([place])

    def _loss(self, place: int) -> Tensor:
        outputs = self.module({name: self._tensor(array) for name, array in self._inputs[place].items()})
        parts = [
            torch.nn.functional.mse_loss(outputs[name].float(), self._tensor(self._wanted[place][name]).float()) / scale
            for name, scale in self._scales.items()
        ]
        return torch.stack(parts).sum()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return to_tensor(array).to(self.device)


def _positions(file: OnnxFile, sites: set[str], most: int) -> list[int]:
    """Where blocks begin: wherever it changes whether torch can run the nodes, and after so many weights."""
    graph = file.proto.graph
    nodes = [graph.node[place] for place in execution_order(graph.node)]
    constant = constant_nodes(nodes, stored_names(graph))
    positions, runs, held = [], None, 0
    for index, node in enumerate(nodes):
        if index in constant:
            continue
        alone = ModelProto(opset_import=file.proto.opset_import, functions=file.proto.functions)
        alone.graph.node.append(node)
        can = not missing_operators(alone)
        here = len(names_read(node) & sites)
        if can != runs or held + here > most:
            positions.append(index)
            runs, held = can, 0
        held += here
    return positions


def _type_of(array: NDArray[Any]) -> TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)


def _nobody(_: FinetuneStep) -> None:
    """Who listens where nobody was named."""

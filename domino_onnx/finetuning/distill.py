"""The graph in torch as student of the dense model, with batches for both."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.bridge import GraphModule
from domino_onnx.bridge.values import to_tensor
from domino_onnx.data import Split, feed_of
from domino_onnx.errors import DataError, FinetuneError
from domino_onnx.finetuning.losses import DistillationLoss
from domino_onnx.finetuning.mixing import Mixture, can_mix, mixture
from domino_onnx.finetuning.portions import Portions
from domino_onnx.finetuning.processes import Processes
from domino_onnx.finetuning.saved_tensors import SavedTensors
from domino_onnx.finetuning.teacher import Teacher
from domino_onnx.options import JUDGED_DRAWS, FinetuneOptions
from domino_onnx.outputs import Meanings, OutputDivergence, Survey
from domino_onnx.runtime import Room
from domino_onnx.scheme import WeightKey

__all__ = ["Distillation"]

_ALONE = Processes()


class Distillation:
    """The student's loss against the teacher, batch by batch.

    Parameters
    ----------
    split
        The samples to learn from and to judge by.
    room
        Where activations are kept for the way back. By default in memory.

    Attributes
    ----------
    module
        The student; its site weights are trainable parameters, everything else is fixed.
    device
        Where the student runs.
    train, held_out
        Those of the split; of a stream those of its first batch, and those that judge.
    """

    def __init__(
        self,
        module: GraphModule,
        teacher: Teacher,
        split: Split,
        options: FinetuneOptions | None = None,
        *,
        device: torch.device,
        meanings: Meanings | None = None,
        room: Room | None = None,
    ) -> None:
        options, feed = options or FinetuneOptions(), feed_of(split)
        data = feed.data
        self._mixes = options.mix and can_mix(data)
        self._varies = self._mixes or bool(data.augment)
        self._channels_last = _has_images(module)
        self._precision = options.precision
        self.module = module.to(device)
        if self._channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._originals: dict[WeightKey, Tensor] = {}
        self._teacher = teacher
        self._feed, self._data = feed, data
        self._portions = Portions(data.batch or 1)
        self._saved = SavedTensors(self.module, room or Room(), device)
        self.device = device
        self.train, self.held_out = feed.train, feed.held_out
        if meanings is None:
            meanings = self._surveyed()
        self._loss = DistillationLoss(meanings, options)
        self._judge = OutputDivergence(meanings)
        if not self._loss.trainable:
            raise FinetuneError("the model has no floating-point output, so there is nothing to learn from")
        classes = self._loss.class_count
        if data.labels is not None and classes is not None and int(data.labels.max()) >= classes:
            raise DataError(
                f"the data have the label {int(data.labels.max())}, the model tells {classes} classes apart"
            )

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others.

        All weights are the file's own again first, so that nothing is left of an earlier training.
        """
        weights = self.module.weights
        with torch.no_grad():
            for key, original in self._originals.items():
                weights[key].copy_(original)
        chosen = self.module.learn(keys)
        self._originals |= {key: parameter.detach().clone() for key, parameter in chosen.items()}
        return chosen

    def loss(self, indices: NDArray[np.int64], *, draw: int | None = None) -> Tensor:
        """Mean loss over the samples, with a graph for `backward`; the samples are one run of the model.

        With `draw` it is that of a random variation of each sample, where there are any: as the data say how to vary
        them, and mixed with one of the training samples. Samples of which the teacher makes NaN are left out: a
        gradient doesn't come through NaN.
        """
        inputs, mixing = self._inputs(indices, draw, self._feed.among(draw or 1))
        once = not self._feed.comes_again or (draw is not None and self._varies)
        wanted = self._teacher.outputs(indices, inputs, once=once)
        told = self._loss.told(wanted, len(indices))
        if not told.all():
            left = indices[told] if self._data.batch is None else indices[:0]
            return self.loss(left, draw=draw) if len(left) else torch.zeros((), device=self.device)
        with self._saved.kept(inputs):
            return self._loss(self._answers(inputs), self._to_torch(wanted), self._targets(indices, mixing))

    def backward(
        self, batch: NDArray[np.int64], batch_size: int, processes: Processes = _ALONE, draw: int = 0
    ) -> float:
        """Gradients of the mean loss over the batch, of which each process adds its share; the mean loss itself.

        A model with a fixed batch size takes its share in several runs, and so does one whose activations don't fit
        into the GPU's memory. `draw` tells the variations of a sample apart.
        """
        share = processes.share(batch, self._data.batch or 1)

        def added_up(size: int) -> float:
            total = 0.0
            for chunk in self._data.chunks(share, size):
                loss = self.loss(chunk, draw=draw) * (len(chunk) / len(batch))
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            return total

        return processes.sums([self._portions.fitted(added_up, batch_size, self.module.zero_grad)], self.device)[0]

    def held_out_loss(self, batch_size: int, samples: int | None = None, processes: Processes = _ALONE) -> float:
        """Mean divergence of the outputs (`OutputDivergence`) over the held-out samples, or the first `samples`.

        It is the measure of search and refit, whatever the student is trained by.
        Where training varies its samples, it is that of variations of these: a refit has seen them as they are, so that
        the weights it gave would look better on them than they are.
        """
        draws = range(JUDGED_DRAWS) if self._varies else (None,)
        if samples is not None:
            samples = max(samples, self._data.batch or 1)
        judged = processes.share(self.held_out[:samples], self._data.batch or 1)

        def added_up(size: int) -> tuple[float, int]:
            total, count = 0.0, 0
            for draw, chunk in itertools.product(draws, self._data.chunks(judged, size)):
                total += self._divergence(chunk, draw) * len(chunk)
                count += len(chunk)
            return total, count

        with torch.no_grad():
            total, counted = processes.sums(self._portions.fitted(added_up, batch_size), self.device)
        return total / counted

    def _divergence(self, indices: NDArray[np.int64], draw: int | None) -> float:
        inputs, _ = self._inputs(indices, draw, self.held_out)
        teacher = self._teacher.judged(indices, inputs, draw)
        student = {name: output.float().cpu().numpy() for name, output in self._answers(inputs).items()}
        return self._judge([teacher], [student])

    def shuffled(self, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Batches of training samples without end, in an order that the seed decides."""
        return self._feed.batches(self._batch_of(batch_size), seed)

    def epoch(self, batch_size: int) -> int:
        """How many of those batches see each training sample once, of those that there are at a time."""
        return self._feed.epoch(self._batch_of(batch_size))

    def _batch_of(self, batch_size: int) -> int:
        """How many samples a batch has: no more than there are, and whole runs of the model."""
        size = min(batch_size, len(self.train)) if self._feed.comes_again else batch_size
        unit = self._data.batch or 1
        return max(size // unit, 1) * unit

    def _inputs(
        self, indices: NDArray[np.int64], draw: int | None, others: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[Any]], Mixture | None]:
        """These samples as they are, or their variation `draw`, mixed with some of `others` where samples are mixed."""
        inputs = self._data.take(indices, draw=draw)
        mixing = None
        if draw is not None and self._mixes:
            mixing = mixture(indices, self._data.like(indices[0], others), draw)
            second = self._data.take(mixing.others, draw=draw)
            inputs |= mixing({name: inputs[name] for name in self._data.arrays}, second, self._data.batching.axes)
        return inputs, mixing

    def _surveyed(self) -> Meanings:
        """What the outputs mean, by the teacher's outputs on all samples that there are."""
        data = self._data
        runs = data.runs(32)
        survey = Survey(len(runs), batch_axes=data.batching.outputs)
        for indices in runs:
            labels = None if data.labels is None else data.labels[indices]
            survey.add(self._teacher.outputs(indices, data.take(indices)), len(indices), labels)
        return survey.meanings()

    def _targets(self, indices: NDArray[np.int64], mixing: Mixture | None) -> Tensor | None:
        """(batch, classes) what labels name; None where there are none, or nothing that they could name."""
        labels, classes = self._data.labels, self._loss.class_count
        if labels is None or classes is None:
            return None
        known = np.eye(classes, dtype=np.float32)
        targets = {"labels": known[labels[indices]]}
        if mixing is not None:
            targets = mixing(targets, {"labels": known[labels[mixing.others]]})
        return torch.from_numpy(targets["labels"]).to(self.device)

    def _answers(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """The student's outputs, on its device; what is computed from shapes alone comes from the host."""
        given = self._to_torch(inputs)
        if self._channels_last:
            given = {name: _channels_last(tensor) for name, tensor in given.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            outputs = self.module(given)
        return {name: output.to(self.device) for name, output in outputs.items()}

    def _to_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return {name: to_tensor(array).to(self.device) for name, array in arrays.items()}


def _has_images(module: GraphModule) -> bool:
    """Whether channels last is for this module: convolutions of images are a third faster so (benchmarks/)."""
    ranks = {parameter.ndim for parameter in module.parameters()}
    return 4 in ranks and 5 not in ranks  # torch takes this format for all parameters or none, and 5 axes refuse it


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

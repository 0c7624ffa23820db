"""The dense model as teacher (ONNX Runtime), the graph in torch as student, and batches for both."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.bridge import GraphModule, build, first_difference, mismatch, prove_parity
from domino_onnx.bridge.values import to_tensor
from domino_onnx.data import Dataset
from domino_onnx.errors import DataError, DependencyError, ModelError, RecoveryError
from domino_onnx.finetuning.features import feature_tensors
from domino_onnx.finetuning.losses import DistillationLoss
from domino_onnx.finetuning.mixing import Mixture, can_mix, mixture
from domino_onnx.finetuning.options import LossOptions, Precision
from domino_onnx.finetuning.world import World
from domino_onnx.graph import OnnxFile, read_model, with_outputs
from domino_onnx.runtime import Device, Session
from domino_onnx.scheme import WeightKey

__all__ = ["Distillation", "Teacher", "open_distillation", "torch_device"]

_MAX_CACHED_BYTES = 2 << 30
_JUDGED_DRAWS = 2
"""Variations of each held-out sample: the same ones whenever they are looked at."""
_ALONE = World()


def torch_device(device: Device) -> torch.device:
    """The torch device for `--device`; DependencyError if CUDA is asked for and isn't there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DependencyError("--device cuda: torch sees no CUDA device; check the driver, or install torch with CUDA")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # which GPU, if torchrun started several


class Teacher:
    """The dense model's outputs, computed once for all samples where they have a sample axis and fit in memory.

    Parameters
    ----------
    model
        Its file, or the model itself with more outputs than it has.
    """

    def __init__(
        self, model: Path | bytes, data: Dataset, *, device: Device, threads: int = 0, batch_size: int = 32
    ) -> None:
        self._session = Session(model, device=device, threads=threads)
        self._data = data
        self._batch_size = batch_size
        self._cache = self._all_outputs()

    def outputs(
        self, indices: NDArray[np.int64], inputs: Mapping[str, NDArray[Any]], *, varied: bool = False
    ) -> dict[str, NDArray[Any]]:
        """What the dense model gives for `inputs`, which are those of the samples `indices`, varied or as they are."""
        if self._cache is None or varied:
            return self._session.run(inputs)
        return {name: output[indices] for name, output in self._cache.items()}

    def _all_outputs(self) -> dict[str, NDArray[Any]] | None:
        data = self._data
        if data.stacked or data.batch not in (None, 1):
            return None
        probe = np.arange(data.batch_size(3))
        first = self._session.run(data.take(probe))
        size = sum(output.nbytes for output in first.values()) / len(probe) * data.count
        if size > _MAX_CACHED_BYTES or any(output.shape[:1] != (len(probe),) for output in first.values()):
            return None
        outputs = self._session.run_all(data.batches(self._batch_size))
        return outputs if all(len(output) == data.count for output in outputs.values()) else None


class Distillation:
    """The student's loss against the teacher, batch by batch.

    Attributes
    ----------
    module
        The student; its site weights are trainable parameters, everything else is fixed.
    device
        Where the student runs.
    train, held_out
        Sample indices to learn from, and to judge by; the same ones where there are too few for both.
    """

    def __init__(
        self,
        module: GraphModule,
        teacher: Teacher,
        data: Dataset,
        *,
        device: torch.device,
        held_out: float,
        seed: int,
        loss: LossOptions | None = None,
        features: Sequence[str] = (),
        precision: Precision = "float32",
    ) -> None:
        self._features = tuple(features)
        self._mixes = (loss or LossOptions()).mix and can_mix(data)
        self._varies = self._mixes or bool(data.augment)
        self._channels_last = _has_images(module)
        self._precision = precision
        self.module = module.to(device)
        if self._channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._originals: dict[WeightKey, Tensor] = {}
        self._teacher = teacher
        self._data = data
        self.device = device
        self.train, self.held_out = _split(data, held_out, seed)
        first = self.train[: data.batch_size(32)]
        self._loss = DistillationLoss(self._to_torch(teacher.outputs(first, data.take(first))), loss, features)
        if not self._loss.trainable:
            raise RecoveryError("the model has no floating-point output, so there is nothing to learn from")
        classes = self._loss.class_count
        if data.labels is not None and classes is not None and int(data.labels.max()) >= classes:
            raise DataError(
                f"the data have the label {int(data.labels.max())}, the model tells {classes} classes apart"
            )

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others.

        All weights are the file's own again first: whoever trained before leaves no trace in what isn't trained now.
        """
        weights = self.module.weights
        with torch.no_grad():
            for key, original in self._originals.items():
                weights[key].copy_(original)
        chosen = self.module.learn(keys)
        self._originals |= {key: parameter.detach().clone() for key, parameter in chosen.items()}
        return chosen

    def loss(
        self, indices: NDArray[np.int64], *, draw: int | None = None, among: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Mean loss over the samples, with a graph for `backward`; the samples are one run of the model.

        With `draw` it is that of a random variation of each sample, where there are such: as the data say how to vary
        them, and mixed with one of `among`, by default of the training samples.
        """
        varied = draw is not None and self._varies
        inputs = self._data.take(indices, draw=draw)
        others = self.train if among is None else among
        mixing = mixture(indices, others, draw) if draw is not None and self._mixes else None
        if mixing is not None:
            second = self._data.take(mixing.others, draw=draw)
            inputs |= mixing({name: inputs[name] for name in self._data.arrays}, second)
        teacher = self._to_torch(self._teacher.outputs(indices, inputs, varied=varied))
        return self._loss(self._answers(inputs), teacher, self._targets(indices, mixing))

    def drawn_loss(self, indices: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        """Minus the log-likelihood of answers that the student itself might give, summed over the samples."""
        return self._loss.drawn(self._answers(self._data.take(indices)), generator)

    def backward(self, batch: NDArray[np.int64], batch_size: int, world: World = _ALONE, draw: int = 0) -> float:
        """Gradients of the mean loss over the batch, of which each process adds its share; the mean loss itself.

        A model with a fixed batch size takes its share in several runs. `draw` tells the variations of a sample apart.
        """
        total = 0.0
        for chunk in self.chunks(world.share(batch, self._data.batch or 1), batch_size):
            loss = self.loss(chunk, draw=draw) * (len(chunk) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return world.sums([total], self.device)[0]

    def held_out_loss(self, batch_size: int, samples: int | None = None, world: World = _ALONE) -> float:
        """Mean loss over the held-out samples, or over the first `samples` of them.

        Where training varies its samples, it is that of variations of these: a refit has seen them as they are, so that
        the weights it gave would look better on them than they are.
        """
        total, count = 0.0, 0
        draws = range(_JUDGED_DRAWS) if self._varies else (None,)
        with torch.no_grad():
            if samples is not None:
                samples = max(samples, self._data.batch or 1)
            judged = world.share(self.held_out[:samples], self._data.batch or 1)
            for draw, chunk in itertools.product(draws, self.chunks(judged, batch_size)):
                total += float(self.loss(chunk, draw=draw, among=self.held_out)) * len(chunk)
                count += len(chunk)
        total, counted = world.sums([total, count], self.device)
        return total / counted

    def chunks(self, indices: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """`indices` in runs of the size that the model takes."""
        size = self._data.batch_size(batch_size)
        whole = self._data.whole(indices)
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    def shuffled(self, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Batches of training samples without end; each epoch in a new order that the seed decides."""
        generator = np.random.default_rng(seed)
        size = min(batch_size, len(self.train))
        if self._data.batch:
            size = max(size // self._data.batch, 1) * self._data.batch
        while True:
            order = generator.permutation(self.train)
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]

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
        """The student's outputs and features, on its device: what is computed from shapes alone stays on the host."""
        given = self._to_torch(inputs)
        if self._channels_last:
            given = {name: _channels_last(tensor) for name, tensor in given.items()}
        if self._precision == "float32":
            outputs = self.module(given, keep=self._features)
        else:
            with torch.autocast(self.device.type, torch.bfloat16):
                outputs = self.module(given, keep=self._features)
        return {name: output.to(self.device) for name, output in outputs.items()}

    def _to_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        return {name: to_tensor(array).to(self.device) for name, array in arrays.items()}


def open_distillation(
    file: OnnxFile,
    teacher: Path,
    data: Dataset,
    *,
    device: Device = "auto",
    threads: int = 0,
    held_out: float = 0.15,
    seed: int = 0,
    loss: LossOptions | None = None,
    precision: Precision = "float32",
) -> Distillation:
    """Build the student from `file`, and prove it equal to ONNX Runtime before it is used.

    Raises
    ------
    UnsupportedOperatorError
        With all operators that have no torch counterpart.
    RecoveryError
        If there is no output to learn from, or activations are wanted of a model too large to show them.
    ModelError
        If the student's outputs differ from ONNX Runtime's, or either can't run.
    """
    if threads:
        torch.set_num_threads(threads)
    module = build(file.proto, load=file.array)
    first = np.arange(data.batch_size(4))
    inputs = data.take(first)
    expected = Session(file.path, threads=threads).run(inputs)
    taught = Session(teacher, threads=threads).output_names
    if taught != tuple(expected):
        raise ModelError(f"the teacher {teacher} has the outputs {list(taught)}, {file.path} has {list(expected)}")
    parity = prove_parity(file, module, inputs, expected, threads=threads)
    if not parity.ok:
        raise ModelError(mismatch(parity, first_difference(file, module, inputs, threads=threads)))
    features = feature_tensors(file.proto.graph) if loss is not None and loss.feature_weight else ()
    return Distillation(
        module,
        Teacher(_showing(teacher, features), data, device=device, threads=threads),
        data,
        device=torch_device(device),
        held_out=held_out,
        seed=seed,
        loss=loss,
        features=features,
        precision=precision,
    )


def _showing(teacher: Path, features: Sequence[str]) -> Path | bytes:
    """The teacher with these tensors among its outputs; as it is where there are none."""
    if not features:
        return teacher
    shown = with_outputs(read_model(teacher), features)
    if shown is None:
        raise RecoveryError(
            f"{teacher} is over 1 GiB or has external data, so that its activations can't be taught by: "
            "leave --recover-feature-weight out, or give --recover-scope blocks"
        )
    return shown


def _has_images(module: GraphModule) -> bool:
    """Whether channels last is for this module: convolutions of images are a third faster so (benchmarks/)."""
    ranks = {parameter.ndim for parameter in module.parameters()}
    return 4 in ranks and 5 not in ranks  # torch takes this format for all parameters or none, and 5 axes refuse it


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _split(data: Dataset, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and held-out samples; with too few samples for both, each part has all of them."""
    order = np.random.default_rng(seed).permutation(data.count)
    count = round(data.count * held_out)
    if data.batch:
        count = -(-count // data.batch) * data.batch
    if not 0 < count <= data.count - max(data.batch or 1, count):
        return order, order
    return order[count:], np.sort(order[:count])

"""What is being trained: float32 copies of the student's weights, their masks, and the optimizer over them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.finetuning.masks import Grouping, MovingMask
from domino_onnx.finetuning.options import FinetuneOptions
from domino_onnx.finetuning.world import World
from domino_onnx.scheme import WeightKey

__all__ = ["State", "Student", "Trainer"]

State = dict[WeightKey, Tensor]
"""Values as the student has them, masked, in its dtypes, on the CPU."""

_MOMENTUM = 0.9


class Student(Protocol):
    """What is taught: a model, or a part of one, with the data to learn from."""

    device: torch.device

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others."""

    def backward(self, batch: NDArray[np.int64], batch_size: int, world: World, draw: int, /) -> float:
        """Gradients of the mean loss over the batch, of which each process adds its share; the mean loss itself.

        `draw` tells the variations of a sample apart, where there are such.
        """

    def held_out_loss(self, batch_size: int, samples: int | None, world: World, /) -> float:
        """Mean loss over the held-out samples, or over the first `samples` of them."""

    def shuffled(self, batch_size: int, seed: int, /) -> Iterator[NDArray[np.int64]]:
        """Batches of training samples without end; each epoch in a new order that the seed decides."""


class Trainer:
    """One optimizer step after the other.

    Half-precision weights take steps too small for their type, so the optimizer works on float32 copies of all; the
    student gets them back, masked, after each step.

    Parameters
    ----------
    weights
        Pruned: what is zero is masked.
    biases
        Trained whole.
    groupings
        Weights whose masks move; those of the others stay.
    world
        The processes that train together.

    Attributes
    ----------
    given
        The state that it began with.
    """

    def __init__(
        self,
        student: Student,
        weights: Mapping[WeightKey, NDArray[np.generic]],
        biases: Mapping[WeightKey, NDArray[np.generic]],
        groupings: Mapping[WeightKey, Grouping],
        options: FinetuneOptions,
        world: World | None = None,
    ) -> None:
        self._student = student
        self._options = options
        self._parameters = student.trainable([*weights, *biases])
        self._fixed = {key: _load(self._parameters[key], weights[key]) for key in weights}
        for key in biases:
            self._fixed[key] = torch.ones_like(_load(self._parameters[key], biases[key]))
        self._moving = {
            key: MovingMask(grouping, self._parameters[key].device)
            for key, grouping in groupings.items()
            if key in weights
        }
        self.world = world or World()
        self._averages: dict[WeightKey, Tensor] = {}
        self.given = self.state()
        self.restart(self.given)

    def restart(self, state: State) -> None:
        """Begin with these values, and with an optimizer that knows nothing yet."""
        with torch.no_grad():
            for key, value in state.items():
                self._parameters[key].copy_(value)
        self._masters = {key: p.detach().float().clone() for key, p in self._parameters.items()}
        self._averages = {key: master.clone() for key, master in self._masters.items()} if self._options.ema else {}
        self._optimizer = self._new_optimizer()

    def step(self, lr: float, batch: NDArray[np.int64], draw: int = 0) -> float:
        """Train on a batch, varied as `draw` says where data may be; its mean loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        loss = self._student.backward(batch, self._options.batch_size, self.world, draw)
        masks = self._masks(self._masters)
        for key, master in self._masters.items():
            master.grad = self._gradient(key, master, masks[key])
            self._parameters[key].grad = None
        self.world.add([master.grad for master in self._masters.values() if master.grad is not None])
        for key in self._moving:
            self._pull(self._masters[key], masks[key])
        torch.nn.utils.clip_grad_norm_(self._masters.values(), self._options.clip)
        self._optimizer.step()
        for key, average in self._averages.items():
            average.lerp_(self._masters[key], 1 - self._options.ema)
        self._hand_over(self._masters)
        return loss

    def held_out_loss(self, samples: int | None = None) -> float:
        """Of what `state` gives."""
        with self._averaged():
            return self._student.held_out_loss(self._options.batch_size, samples, self.world)

    def state(self) -> State:
        """What would be written now: the weights, or their running mean."""
        with self._averaged():
            return {key: parameter.detach().cpu().clone() for key, parameter in self._parameters.items()}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that the next step depends on, by name."""
        named = {f"master.{i}": master for i, master in enumerate(self._masters.values())}
        named |= {f"average.{i}": average for i, average in enumerate(self._averages.values())}
        for i, fields in self._optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{i}.{name}": value for name, value in fields.items() if isinstance(value, Tensor)}
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on where `arrays` were taken."""
        for prefix, tensors in (("master", self._masters), ("average", self._averages)):
            for place, tensor in enumerate(tensors.values()):
                tensor.copy_(torch.from_numpy(arrays[f"{prefix}.{place}"]))
        fields: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("optimizer."):
                _, i, field = name.split(".")
                fields.setdefault(int(i), {})[field] = torch.from_numpy(array.copy())
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": fields})
        self._hand_over(self._masters)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        masters = list(self._masters.values())
        if self._options.optimizer_name == "sgd":
            return torch.optim.SGD(masters, lr=0.0, momentum=_MOMENTUM)
        return torch.optim.AdamW(masters, weight_decay=0.0)

    def _masks(self, values: Mapping[WeightKey, Tensor]) -> State:
        """1 and 0, or True and False, for each weight that has these values."""
        return {**self._fixed, **{key: mask(values[key]) for key, mask in self._moving.items()}}

    def _gradient(self, key: WeightKey, master: Tensor, mask: Tensor) -> Tensor | None:
        """The student's gradient: of kept weights alone, or straight through where masks move."""
        gradient = self._parameters[key].grad
        if gradient is None:
            return torch.zeros_like(master) if self.world.size > 1 else None
        return gradient.float() if key in self._moving else gradient.float() * mask

    def _pull(self, master: Tensor, mask: Tensor) -> None:
        """SR-STE's regulariser, equation 8 of Zhou et al. 2021: pruned weights fade."""
        if master.grad is not None:
            master.grad += self._options.pull * (1 - mask) * master

    def _hand_over(self, values: Mapping[WeightKey, Tensor]) -> None:
        """Give the student masked values."""
        masks = self._masks(values)
        with torch.no_grad():
            for key, value in values.items():
                self._parameters[key].copy_(value * masks[key])

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The student with the running means for a while, where they are kept."""
        if self._averages:
            self._hand_over(self._averages)
        yield
        if self._averages:
            self._hand_over(self._masters)


def _load(parameter: torch.nn.Parameter, weight: NDArray[np.generic]) -> Tensor:
    """Put a pruned weight into the student; its mask as a tensor beside it."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(weight.astype(np.float64)).to(parameter.dtype))
    return torch.empty_like(parameter, dtype=torch.bool).copy_(torch.from_numpy(weight != 0))

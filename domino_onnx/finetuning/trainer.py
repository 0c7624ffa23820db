"""What is being trained: float32 copies of the student's weights, their masks, and the optimizer over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.errors import CheckpointError
from domino_onnx.finetuning.clipping import clip
from domino_onnx.finetuning.masks import MovingMask, WeightGroups
from domino_onnx.finetuning.processes import Processes
from domino_onnx.options import Method
from domino_onnx.scheme import NamedArrays, WeightKey

__all__ = ["Student", "Trainer", "WeightTensors"]

WeightTensors = dict[WeightKey, Tensor]
"""Values as the student has them, masked, in its dtypes, on the CPU."""

_MOMENTUM = 0.9
_PULL = 2e-4
"""SR-STE's strength: what pruned weights lose of themselves at each step, times the learning rate."""
_STEP, _SQUARES = "step", "exp_avg_sq"
_OPTIMIZER_FIELDS: dict[Method, tuple[str, ...]] = {
    "fixed": (_STEP, "exp_avg", _SQUARES),
    "sr-ste": ("momentum_buffer",),
}
"""What torch's AdamW and SGD remember of each weight, once it has had a gradient."""


class Student(Protocol):
    """What is taught: a model, or a block of one, with the data to learn from."""

    device: torch.device

    def trainable(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and on for no others."""

    def backward(self, batch: NDArray[np.int64], batch_size: int, processes: Processes, draw: int, /) -> float:
        """Gradients of the mean loss over the batch, of which each process adds its share; the mean loss itself.

        `draw` tells the variations of a sample apart, where there are any.
        """

    def held_out_loss(self, batch_size: int, samples: int | None, processes: Processes, /) -> float:
        """Mean loss over the held-out samples, or over the first `samples` of them."""

    def shuffled(self, batch_size: int, seed: int, /) -> Iterator[NDArray[np.int64]]:
        """Batches of training samples without end; each epoch in a new order that the seed decides."""

    def epoch(self, batch_size: int, /) -> int:
        """How many of those batches see each training sample once."""


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
    groups
        Of the weights whose masks move; those of the others stay.
    method
        Decides the optimizer: AdamW for ``fixed``, SGD with momentum for ``sr-ste``.
    processes
        Those that train together.

    Attributes
    ----------
    given
        The values that it began with.
    """

    def __init__(
        self,
        student: Student,
        weights: Mapping[WeightKey, NDArray[np.generic]],
        biases: Mapping[WeightKey, NDArray[np.generic]],
        groups: Mapping[WeightKey, WeightGroups],
        *,
        method: Method = "fixed",
        batch_size: int = 32,
        processes: Processes | None = None,
    ) -> None:
        self._student = student
        self._method = method
        self._batch_size = batch_size
        self._parameters = student.trainable([*weights, *biases])
        self._fixed = {key: _load(self._parameters[key], weights[key]) for key in weights}
        for key in biases:
            self._fixed[key] = torch.ones_like(_load(self._parameters[key], biases[key]))
        self._moving = {key: MovingMask(groups[key], self._parameters[key].device) for key in groups if key in weights}
        self.processes = processes or Processes()
        self.given = self.values()
        self.restart(self.given)

    def restart(self, values: WeightTensors) -> None:
        """Begin with these values, and with an optimizer that knows nothing yet."""
        with torch.no_grad():
            for key, value in values.items():
                self._parameters[key].copy_(value)
        self._masters = {key: p.detach().float().clone() for key, p in self._parameters.items()}
        self._optimizer = self._new_optimizer()

    def step(self, lr: float, batch: NDArray[np.int64], draw: int = 0) -> tuple[float, WeightKey | None]:
        """Train on a batch, varied as `draw` says where data may be; its mean loss.

        If the gradient isn't finite, weights and optimizer stay as they are, for one NaN would reach all weights.
        Then the second is the weight to blame.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        loss = self._student.backward(batch, self._batch_size, self.processes, draw)
        masks = self._masks()
        for key, master in self._masters.items():
            master.grad = self._gradient(key, master, masks[key])
            self._parameters[key].grad = None
        self.processes.add([master.grad for master in self._masters.values() if master.grad is not None])
        for key in self._moving:
            self._pull(self._masters[key], masks[key])
        endless = clip({key: master.grad for key, master in self._masters.items() if master.grad is not None})
        if endless is None:
            self._optimizer.step()
            self._hand_over()
        return loss, endless

    @property
    def epoch(self) -> int:
        """Steps in which each training sample is seen once."""
        return self._student.epoch(self._batch_size)

    def held_out_loss(self, samples: int | None = None) -> float:
        """Mean loss over the held-out samples, or over the first `samples` of them."""
        return self._student.held_out_loss(self._batch_size, samples, self.processes)

    def values(self) -> WeightTensors:
        """What would be written now."""
        return {key: parameter.detach().cpu().clone() for key, parameter in self._parameters.items()}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that the next step depends on, by name."""
        named = {f"master.{i}": master for i, master in enumerate(self._masters.values())}
        for i, fields in self._optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{i}.{name}": value for name, value in fields.items() if isinstance(value, Tensor)}
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}

    def check(self, arrays: NamedArrays, steps: int) -> None:
        """Raise CheckpointError if `arrays` can't be what a trainer like this one gave after so many steps."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i, master in enumerate(self._masters.values()):
            shapes[f"master.{i}"] = tuple(master.shape)
            fields = {
                f"optimizer.{i}.{field}": () if field == _STEP else tuple(master.shape)
                for field in _OPTIMIZER_FIELDS[self._method]
            }
            if not fields.keys().isdisjoint(arrays):
                shapes |= fields
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise CheckpointError("it holds other arrays than the weights and the optimizer's, or other shapes")
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise CheckpointError(f"its {name!r} is {array.dtype}, not float32")
            if name.endswith(f".{_STEP}") and not 1 <= array <= steps:
                raise CheckpointError(f"its {name!r} is {array}, after {steps} steps")
            if name.endswith(f".{_SQUARES}") and (array < 0).any():
                raise CheckpointError(f"its {name!r} holds squares below 0")

    def may_have(self, key: WeightKey, value: Tensor) -> bool:
        """Whether training can lead to this value of a weight or bias: it is finite, and keeps to the mask."""
        if not value.isfinite().all():
            return False
        on_device = value.to(self._parameters[key].device)
        mask = self._moving[key](on_device) if key in self._moving else self._fixed[key]
        return not bool(on_device[mask == 0].any())

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on where `arrays`, which are checked, were taken."""
        for place, master in enumerate(self._masters.values()):
            master.copy_(torch.from_numpy(arrays[f"master.{place}"]))
        fields: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("optimizer."):
                _, i, field = name.split(".")
                fields.setdefault(int(i), {})[field] = torch.from_numpy(array.copy())
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": fields})
        self._hand_over()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        masters = list(self._masters.values())
        if self._method == "sr-ste":
            return torch.optim.SGD(masters, lr=0.0, momentum=_MOMENTUM)
        return torch.optim.AdamW(masters, weight_decay=0.0)

    def _masks(self) -> dict[WeightKey, Tensor]:
        """1 and 0, or True and False, for each weight as it is now."""
        return {**self._fixed, **{key: mask(self._masters[key]) for key, mask in self._moving.items()}}

    def _gradient(self, key: WeightKey, master: Tensor, mask: Tensor) -> Tensor | None:
        """The student's gradient: of kept weights alone, or straight through where masks move."""
        gradient = self._parameters[key].grad
        if gradient is None:
            return torch.zeros_like(master) if self.processes.size > 1 else None
        return gradient.float() if key in self._moving else gradient.float() * mask

    def _pull(self, master: Tensor, mask: Tensor) -> None:
        """SR-STE's regulariser, equation 8 of Zhou et al. 2021: pruned weights fade."""
        if master.grad is not None:
            master.grad += _PULL * (1 - mask) * master

    def _hand_over(self) -> None:
        """Give the student the masked values."""
        masks = self._masks()
        with torch.no_grad():
            for key, master in self._masters.items():
                self._parameters[key].copy_(master * masks[key])


def _load(parameter: torch.nn.Parameter, weight: NDArray[np.generic]) -> Tensor:
    """Put a pruned weight into the student; and its mask as a tensor."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(weight.astype(np.float64)).to(parameter.dtype))
    return torch.empty_like(parameter, dtype=torch.bool).copy_(torch.from_numpy(weight != 0))

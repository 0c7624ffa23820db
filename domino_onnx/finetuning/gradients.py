"""The gradient side of DominoSearch with data, so that the search itself sees no torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from domino_onnx.bridge.gpu import full_memory_in_words, same_arithmetic
from domino_onnx.finetuning.distill import Distillation
from domino_onnx.scheme import WeightKey

__all__ = ["DistillationGradients"]

_LARGEST_GRADIENT = 1.0
_log = logging.getLogger(__name__)


class DistillationGradients:
    """A `domino_onnx.search.GradientSource`: the distillation loss at masked weights, batch after batch.

    Gradients are clipped to a norm of 1 over all weights, which the paper doesn't do. Its networks have their batch
    normalisation; in exported files it is folded away, and plain SGD at the paper's rate diverges within 50 steps.
    """

    def __init__(self, distillation: Distillation, keys: list[WeightKey], *, batch_size: int, seed: int) -> None:
        self._distillation = distillation
        self._batch_size = batch_size
        self._parameters = distillation.trainable(keys)
        self._batches = distillation.shuffled(batch_size, seed)

    def __call__(
        self, weights: Mapping[WeightKey, NDArray[np.float32]]
    ) -> tuple[float, Mapping[WeightKey, NDArray[np.float32]]]:
        """Loss and gradients of the next batch at `weights`, in the stored shapes; none if the loss isn't finite."""
        with torch.no_grad():
            for key, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(weights[key]))
                parameter.grad = None
        with full_memory_in_words("the search takes gradients"), same_arithmetic(self._distillation.device):
            total = self._distillation.backward(next(self._batches), self._batch_size)
        if not math.isfinite(total):
            _log.warning("the loss at the masked weights is not finite: this step goes by the pull alone")
            return total, {}
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), _LARGEST_GRADIENT)
        return total, {key: _gradient(parameter) for key, parameter in self._parameters.items()}


def _gradient(parameter: torch.nn.Parameter) -> NDArray[np.float32]:
    if parameter.grad is None:
        return np.zeros(parameter.shape, np.float32)
    return parameter.grad.float().cpu().numpy()

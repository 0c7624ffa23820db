"""The diagonal of the Fisher information: how much each weight says about the model's answers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from domino_onnx.finetuning.distill import Distillation
from domino_onnx.scheme import WeightKey

__all__ = ["fisher_information"]


def fisher_information(
    distillation: Distillation, keys: Iterable[WeightKey], *, batch_size: int = 32, seed: int = 0
) -> dict[WeightKey, NDArray[np.float32]]:
    """Mean square, over the training samples, of the gradient of each weight's log-likelihood.

    The answers are drawn from the model's own distribution, so that no labels are needed and what comes out is the
    Fisher information itself, not the "empirical" one (Kunstner et al. 2019). As drawn answers' gradients have mean
    zero and are independent, the square of a batch's sum is expected to be the sum of the samples' squares: a
    backward pass a batch is enough.

    Returns
    -------
    float32 arrays in the stored shapes.
    """
    parameters = distillation.trainable(keys)
    squares = {key: torch.zeros_like(parameter, dtype=torch.float32) for key, parameter in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for batch in distillation.chunks(distillation.train, batch_size):
        distillation.drawn_loss(batch, generator).backward()  # type: ignore[no-untyped-call]
        for key, parameter in parameters.items():
            if parameter.grad is not None:
                squares[key] += parameter.grad.float() ** 2
                parameter.grad = None
        count += len(batch)
    return {key: (square / count).cpu().numpy() for key, square in squares.items()}

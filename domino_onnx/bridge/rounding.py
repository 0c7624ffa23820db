"""How far do a model's outputs move where what it reads is rounded otherwise?

Rounding can grow on the way: large terms of a sum cancel out inside an LSTM, and its gates make a number of scale 1 of
what is left. The scale of the output doesn't tell that. So it is measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch

from domino_onnx.bridge.module import GraphModule

__all__ = ["moved_inputs", "moved_weights"]

_SEED = 0


@contextlib.contextmanager
def moved_weights(module: GraphModule) -> Iterator[None]:
    """Within the block each float matrix and kernel of the module is one epsilon off, up or down at random.

    Scalars and vectors stay: an exponent of 2 is no rounded number.
    """
    draw = torch.Generator().manual_seed(_SEED)
    matrices = [each for each in module.parameters() if each.is_floating_point() and each.ndim >= 2]
    before = [each.detach().clone() for each in matrices]
    try:
        with torch.no_grad():
            for each in matrices:
                each.copy_(_moved(each, draw))
        yield
    finally:
        with torch.no_grad():
            for each, values in zip(matrices, before, strict=True):
                each.copy_(values)


def moved_inputs(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same inputs, each float of them one epsilon off."""
    draw = torch.Generator().manual_seed(_SEED + 1)
    return {name: _moved(each, draw) if each.is_floating_point() else each for name, each in inputs.items()}


def _moved(values: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    signs = 2 * torch.randint(0, 2, values.shape, generator=draw, dtype=torch.int8) - 1
    return values + values * signs.to(values) * torch.finfo(values.dtype).eps

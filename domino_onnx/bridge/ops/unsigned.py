"""Arithmetic of unsigned integers, most types of which torch can only hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["through_int64"]

_UNSIGNED = frozenset({torch.uint16, torch.uint32, torch.uint64})


def through_int64(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let `function` compute uint16, uint32 and (below 2 ** 63) uint64 in int64; booleans stay booleans."""

    def evaluate(*operands: Tensor) -> Tensor:
        dtype = operands[0].dtype
        if dtype not in _UNSIGNED:
            return function(*operands)
        result = function(*(operand.to(torch.int64) for operand in operands))
        return result if result.dtype == torch.bool else result.to(dtype)

    return evaluate

"""Rows of -inf throughout: attention's padding, which may look at nothing. Softmax makes them NaN, its gradient too.

A graph that replaces that NaN has a finite output, yet NaN times 0 would reach every weight. So a row of -inf counts
as constant. All rows are looked at only where a first result is NaN: one scan of a row's start costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["blind_rows", "with_blind_rows"]


def with_blind_rows(normalised: Callable[[Tensor, int], Tensor], x: Tensor, axis: int) -> Tensor:
    """Return `normalised(x, axis)`, a softmax or its logarithm; rows of -inf are NaN, with a gradient of 0."""
    y = normalised(x, axis)
    blind = blind_rows(x, y, axis) if y.requires_grad else None
    return y if blind is None else normalised(torch.where(blind, x.detach(), x), axis)


def blind_rows(x: Tensor, y: Tensor, axis: int) -> Tensor | None:
    """Which rows of x along the axis are -inf throughout, given their softmax; None if no row is NaN."""
    if y.numel() == 0 or y.dim() == 0 or not bool(y.detach().select(axis, 0).isnan().any()):
        return None
    return torch.isneginf(x).all(dim=axis, keepdim=True)

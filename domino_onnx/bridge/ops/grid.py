"""Sampling at given places."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

_MODES = {
    "bilinear": "bilinear",
    "linear": "bilinear",
    "bicubic": "bicubic",
    "cubic": "bicubic",
    "nearest": "nearest",
}


@op("GridSample", since=16)
def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Tensor:
    """Sample (N, C, spatial...) at normalised coordinates; opset 20 renames the modes."""
    return F.grid_sample(x, grid, _MODES[mode], padding_mode, bool(align_corners))


@op("AffineGrid", since=20, host=(1,))
def affine_grid(theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    """Return the grid of normalised coordinates that an affine map (N, 2, 3) or (N, 3, 4) makes."""
    return F.affine_grid(theta, size.tolist(), bool(align_corners))

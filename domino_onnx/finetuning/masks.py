"""Masks that follow the weights under their scheme."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from domino_onnx.scheme import NMScheme, WeightLayout

__all__ = ["MovingMask", "WeightGroups"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightGroups:
    """How a weight falls into groups, and how many of each are kept."""

    layout: WeightLayout
    scheme: NMScheme


class MovingMask:
    """The N largest magnitudes of each group of a weight, whatever its values are at the moment."""

    def __init__(self, groups: WeightGroups, device: torch.device) -> None:
        layout, self._scheme = groups.layout, groups.scheme
        places = layout.to_groups(np.arange(layout.size).reshape(layout.shape), groups.scheme.m)
        self._places = torch.from_numpy(np.ascontiguousarray(places)).to(device)

    def __call__(self, weight: Tensor) -> Tensor:
        """1 where `weight` is kept, 0 elsewhere, in its shape and dtype; exactly N in each group."""
        flat = weight.detach().abs().flatten()
        groups = flat[self._places]
        best = (_two_of_each_four(groups) if self._scheme.two_of_four else groups).topk(self._scheme.n, dim=1).indices
        kept = torch.zeros_like(flat)
        kept[self._places.gather(1, best)] = 1
        return kept.reshape(weight.shape)


def _two_of_each_four(groups: Tensor) -> Tensor:
    """The two largest magnitudes of each aligned four, -1 for what may not be kept."""
    fours = groups.reshape(-1, 4)
    best = fours.topk(2, dim=1)
    return torch.full_like(fours, -1).scatter_(1, best.indices, best.values).reshape(groups.shape)

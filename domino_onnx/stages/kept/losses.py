"""Measured losses in a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.scheme import FrozenMapping, Inventory, NamedArrays, WeightKey
from domino_onnx.search import LossTable

__all__ = ["pack_losses", "restore_losses"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Losses:
    """The document: the losses of each site."""

    losses: tuple[tuple[WeightKey, tuple[float, ...]], ...]


def pack_losses(table: LossTable) -> tuple[dict[str, Any], NamedArrays]:
    """A document that `restore_losses` makes the same of."""
    return plain(_Losses(losses=tuple(table.losses.items()))), {}


def restore_losses(inventory: Inventory, document: Mapping[str, Any], _: NamedArrays) -> LossTable:
    """What `pack_losses` packed.

    Raises
    ------
    CheckpointError
        If they can't be losses of these sites.
    """
    kept = convert(document, _Losses, what="its document", error=CheckpointError)
    table = FrozenMapping(kept.losses)
    if table.keys() != {site.key for site in inventory.sites} or len(table) < len(kept.losses):
        raise CheckpointError("it doesn't hold the losses of this model's weights")
    for site in inventory.sites:
        losses = table[site.key]
        rises = all(left <= right for left, right in pairwise(losses))
        if len(losses) != len(site.schemes) or not rises or not all(map(math.isfinite, losses)):
            raise CheckpointError(f"its losses of {str(site.key)!r} are none of {len(site.schemes)} schemes")
    return LossTable(losses=table)

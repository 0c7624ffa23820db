"""Measured losses in a checkpoint: those of all weights, or of some while they are being measured."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.scheme import FrozenMapping, Inventory, NamedArrays, Site, WeightKey
from domino_onnx.search import LossTable, SiteLosses

if TYPE_CHECKING:
    from domino_onnx.reconstruction import Network
    from domino_onnx.stages.laboratory import Laboratory

__all__ = [
    "ALL_LOSSES",
    "SOME_LOSSES",
    "kept_losses",
    "known_sites",
    "losses_once",
    "pack_losses",
    "pack_some_losses",
    "restore_losses",
    "restore_some_losses",
]

ALL_LOSSES, SOME_LOSSES = "losses", "some-losses"
"""The names of both in a checkpoint."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Losses:
    """The document: the losses of each site."""

    losses: tuple[tuple[WeightKey, tuple[float, ...]], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _SomeLosses:
    """The document while not all are measured."""

    sites: tuple[tuple[WeightKey, SiteLosses], ...]


def losses_once(lab: Laboratory) -> LossTable:
    """What each scheme of each site costs: as it was kept, else measured now, and kept site by site.

    Raises
    ------
    ModelError, DependencyError
        As `Laboratory.network`.
    CheckpointError
        If what was kept can't be gone on from.
    """
    restore = functools.partial(restore_losses, lab.aim.inventory)
    return lab.checkpoint.once(ALL_LOSSES, functools.partial(_measured, lab), pack_losses, restore, SOME_LOSSES)


def kept_losses(lab: Laboratory) -> LossTable | None:
    """The losses that an interrupted run has kept; None if it kept none, or not those of all sites."""
    return lab.checkpoint.load(ALL_LOSSES, functools.partial(restore_losses, lab.aim.inventory))


def _measured(lab: Laboratory) -> LossTable:
    from domino_onnx.reconstruction import SensitivityOptions, measure_sensitivity

    options = SensitivityOptions(rule=lab.options.solver.masks)
    file = lab.checkpoint.file(SOME_LOSSES, lab.options.run.checkpoint_every)

    def keep(found: Mapping[WeightKey, SiteLosses]) -> None:
        if file.is_due:
            file.save(*pack_some_losses(found))

    def measure(network: Network) -> LossTable:
        sites = [reached.site for reached in network.reached_sites]
        known = file.load(functools.partial(restore_some_losses, sites)) or {}
        inventory, progress = lab.aim.inventory, lab.journal.progress
        return measure_sensitivity(network, inventory, lab.floats, options, progress, known=known, keep=keep)

    return lab.run(measure)


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
        _require_losses(site, table[site.key])
    return LossTable(losses=table)


def pack_some_losses(found: Mapping[WeightKey, SiteLosses]) -> tuple[dict[str, Any], NamedArrays]:
    """A document that `restore_some_losses` makes the same of, but for sites with energies that aren't finite."""
    whole = ((key, each) for key, each in found.items() if all(map(math.isfinite, each.energies)))
    return plain(_SomeLosses(sites=tuple(whole))), {}


def restore_some_losses(
    sites: Sequence[Site], document: Mapping[str, Any], _: NamedArrays
) -> dict[WeightKey, SiteLosses]:
    """What `pack_some_losses` packed.

    Raises
    ------
    CheckpointError
        If they can't have been measured for some of these sites.
    """
    kept = convert(document, _SomeLosses, what="its document", error=CheckpointError)
    found, by_key = dict(kept.sites), {site.key: site for site in sites}
    if not found.keys() <= by_key.keys() or len(found) < len(kept.sites):
        raise CheckpointError("it holds losses of other weights than those that data reach")
    for key, each in found.items():
        _require_losses(by_key[key], each.losses)
        if len(each.energies) != len(each.losses) or not all(map(math.isfinite, each.energies)):
            raise CheckpointError(f"its energies of {str(key)!r} are none of {len(each.losses)} schemes")
    return found


def known_sites(document: Mapping[str, Any]) -> frozenset[WeightKey]:
    """The sites whose losses `pack_some_losses` packed.

    Raises
    ------
    CheckpointError
        If it is none that `pack_some_losses` packs.
    """
    kept = convert(document, _SomeLosses, what="its document", error=CheckpointError)
    return frozenset(key for key, _ in kept.sites)


def _require_losses(site: Site, losses: tuple[float, ...]) -> None:
    rises = all(left <= right for left, right in pairwise(losses))
    if len(losses) != len(site.schemes) or not rises or not all(map(math.isfinite, losses)):
        raise CheckpointError(f"its losses of {str(site.key)!r} are none of {len(site.schemes)} schemes")

"""An inventory, and schemes that were chosen without one, as a target wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeGuard, get_args

from domino_onnx.errors import PlanError
from domino_onnx.scheme import Inventory, NMScheme, Site, Skip, WeightKey
from domino_onnx.targets.tensorrt import legal_scheme, refusal

__all__ = ["TARGETS", "Target", "inventory_for", "known", "require_legal", "schemes_for"]

Target = Literal["generic", "tensorrt"]
TARGETS: tuple[Target, ...] = get_args(Target)


def known(name: str) -> TypeGuard[Target]:
    """Whether a manifest's or a plan's target is one of `TARGETS`."""
    return name in TARGETS


def inventory_for(inventory: Inventory, target: Target, *, speed_only: bool = False) -> Inventory:
    """The sites with the schemes that are legal for the target, one a density.

    A site for which none is left that prunes becomes a skip. So does, with `speed_only`, one that the target can't
    speed up; else that keeps its schemes, and is pruned for size.
    """
    if target == "generic":
        return inventory
    sites: list[Site] = []
    skips = list(inventory.skips)
    for site in inventory.sites:
        reason = refusal(site)
        if reason is None:
            schemes = _legal(site.schemes)
            if len(schemes) > 1:
                sites.append(dataclasses.replace(site, schemes=schemes))
            else:
                skips.append(_skip(site, "none of the schemes can keep at most two of each aligned four weights"))
        elif speed_only:
            skips.append(_skip(site, f"no sparse kernels of TensorRT (speed only): {reason}"))
        else:
            sites.append(site)
    return Inventory(sites=tuple(sites), skips=tuple(skips), notes=inventory.notes)


def require_legal(found: Inventory, target: Target) -> None:
    """Raise PlanError if the target can speed sites up, and no scheme of any of them has a form that it takes."""
    if target == "generic":
        return
    eligible = [site for site in found.sites if refusal(site) is None]
    if eligible and all(len(_legal(site.schemes)) == 1 for site in eligible):
        given = sorted({scheme for site in eligible for scheme in site.schemes[1:]}, key=lambda scheme: -scheme.density)
        raise PlanError(
            f"the target {target} takes none of the schemes {', '.join(map(str, given))}: it wants at most two of each "
            "aligned four weights. Give 2:4 or sparser ones in groups of a multiple of 4, or the target generic"
        )


def schemes_for(
    schemes: Mapping[WeightKey, NMScheme], inventory: Inventory, target: Target
) -> dict[WeightKey, NMScheme]:
    """Schemes from a plan or a manifest, in the form that is legal for the target wherever it can speed a site up.

    Raises
    ------
    PlanError
        Naming every scheme that has no legal form.
    """
    if target == "generic":
        return dict(schemes)
    eligible = {site.key for site in inventory.sites if refusal(site) is None}
    legal = {key: legal_scheme(scheme) if key in eligible else scheme for key, scheme in schemes.items()}
    impossible = [f"{schemes[key]} of {str(key)!r}" for key, scheme in legal.items() if scheme is None]
    if impossible:
        raise PlanError(
            f"{', '.join(impossible)} can't keep at most two of each aligned four weights, as the target {target} "
            "wants: choose at most half of the weights in groups of a multiple of 4, 1:1 for dense, or the target "
            "generic"
        )
    return {key: scheme for key, scheme in legal.items() if scheme is not None}


def _legal(schemes: tuple[NMScheme, ...]) -> tuple[NMScheme, ...]:
    """Densest first, as they were; one a density."""
    legal = [form for scheme in schemes if (form := legal_scheme(scheme)) is not None]
    return tuple({scheme.density: scheme for scheme in legal}.values())


def _skip(site: Site, reason: str) -> Skip:
    return Skip(
        key=site.key,
        name=site.name,
        op=site.op,
        shape=site.layout.shape,
        params=site.params,
        reason=reason,
        zeros=site.zeros,
        macs=site.macs,
        by_options=True,
        in_function=site.in_function,
    )

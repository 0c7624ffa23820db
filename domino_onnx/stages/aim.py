"""What the masks must suit: a target, the inventory as it wants it, and a given plan as it wants it."""

from __future__ import annotations

import dataclasses

from domino_onnx.errors import PlanError
from domino_onnx.options import TargetOptions
from domino_onnx.scheme import FrozenMapping, Inventory, Plan
from domino_onnx.stages.source import Source
from domino_onnx.targets import TARGETS, Target, inventory_for, known, schemes_for

__all__ = ["Aim", "take_aim"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where the work goes.

    Attributes
    ----------
    inventory
        The sites with the schemes that are legal for the target.
    plan
        The plan that was given, its schemes in the form that the target wants; None if it is to be searched for.
    """

    target: Target
    inventory: Inventory
    plan: Plan | None = None


def take_aim(source: Source, options: TargetOptions, plan: Plan | None = None) -> Aim:
    """Choose the target: the options', else the plan's, else generic.

    A scheme of the plan that the pool lacks is added to the pool, so that its weight is a site: 3:6 on an axis of 18.

    Raises
    ------
    PlanError
        If the target is unknown, or a scheme of the plan has no form that is legal for it.
    """
    target = options.runtime or (plan.target if plan is not None else "generic")
    if not known(target):
        raise PlanError(f"the target {target!r} is unknown; this program knows {', '.join(TARGETS)}")
    inventory = inventory_for(source.inventory, target, speed_only=options.speed_only)
    if plan is None:
        return Aim(target=target, inventory=inventory)
    if any(inventory.site(key) is None for key in plan.schemes):
        source = source.with_pool(source.pool.including(plan.schemes.values()))
        inventory = inventory_for(source.inventory, target, speed_only=options.speed_only)
    schemes = FrozenMapping(schemes_for(plan.schemes, source.inventory, target))
    return Aim(target=target, inventory=inventory, plan=dataclasses.replace(plan, target=target, schemes=schemes))

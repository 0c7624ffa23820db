"""What the masks must suit: a target, the inventory as it wants it, and a given plan as it wants it."""

from __future__ import annotations

import dataclasses

from domino_onnx.errors import OptionError, PlanError
from domino_onnx.options import CompressOptions, TargetOptions
from domino_onnx.scheme import FrozenMapping, Inventory, Plan
from domino_onnx.stages.reading.source import Source
from domino_onnx.targets import TARGETS, Target, inventory_for, known, require_legal, schemes_for

__all__ = ["Aim", "given_plan", "take_aim"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where the work goes.

    Attributes
    ----------
    inventory
        The sites with the schemes that are legal for the target.
    found
        The same sites with the schemes that any target would take.
    plan
        The plan that was given, its schemes in the form that the target wants; None if it is to be searched for.
    """

    target: Target
    inventory: Inventory
    found: Inventory
    plan: Plan | None = None

    def suited(self, plan: Plan) -> Plan:
        """The plan with its schemes in the form that the target wants, which the text of a plan doesn't carry.

        Raises
        ------
        PlanError
            If a scheme has no form that is legal for the target.
        """
        schemes = FrozenMapping(schemes_for(plan.schemes, self.found, self.target))
        return dataclasses.replace(plan, target=self.target, schemes=schemes)


def take_aim(source: Source, options: TargetOptions, plan: Plan | None = None) -> Aim:
    """Choose the target: the options', else the plan's, else generic.

    A scheme of the plan that the pool lacks is added to the pool, so that its weight is a site: 3:6 on an axis of 18.

    Raises
    ------
    OptionError
        If only what the target speeds up is to be pruned, and the target is generic.
    PlanError
        If the target is unknown, or a scheme of the plan has no form that is legal for it; without a plan, if no
        scheme has one.
    """
    target = options.runtime or (plan.target if plan is not None else "generic")
    if not known(target):
        raise PlanError(f"the target {target!r} is unknown; this program knows {', '.join(TARGETS)}")
    if options.speed_only and target == "generic":
        raise OptionError("--speed-only leaves dense what a target can't speed up: give --target tensorrt")
    inventory = inventory_for(source.inventory, target, speed_only=options.speed_only)
    if plan is None:
        require_legal(source.inventory, target)
        return Aim(target=target, inventory=inventory, found=source.inventory)
    if any(inventory.site(key) is None for key in plan.schemes):
        source = source.with_pool(source.pool.including(plan.schemes.values()))
        inventory = inventory_for(source.inventory, target, speed_only=options.speed_only)
    aim = Aim(target=target, inventory=inventory, found=source.inventory)
    return dataclasses.replace(aim, plan=aim.suited(plan))


def given_plan(options: CompressOptions) -> Plan | None:
    """The plan that the goal names; None if it names none.

    Raises
    ------
    PlanError
        If it can't be read.
    """
    return None if options.goal.plan is None else Plan.load(options.goal.plan)

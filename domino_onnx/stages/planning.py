"""The stage that chooses schemes: a strategy, a plan file, or one scheme for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from domino_onnx.errors import BudgetError, DataError, DependencyError, FinetuneError, ModelError, PlanError
from domino_onnx.options import MEASURED, Strategy
from domino_onnx.percentage import percent
from domino_onnx.scheme import Budget, FrozenMapping, Inventory, NMScheme, Plan, WeightKey, require_reachable
from domino_onnx.search import (
    Decision,
    GradientSource,
    LossTable,
    search_domino,
    search_erk,
    search_measured_domino,
    search_sensitivity,
    search_uniform,
)
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import ONLY_INTEGERS, Laboratory

__all__ = [
    "SECOND_PLAN",
    "Planned",
    "choose_plan",
    "chosen_strategy",
    "fitted",
    "require_plan",
    "two_may_be_refitted",
]

SECOND_PLAN = 0.5
"""How often a second plan comes into question: for about half of the networks of benchmarks/preflight.py."""
_LEFT_OF_THE_FIRST = 0.1
"""What remains of the first layer's loss in the plan that counts on later layers to mend it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and the way to it.

    `alternatives` are plans that only a refit can tell to be better or worse.
    """

    plan: Plan
    decisions: tuple[Decision, ...] = ()
    alternatives: tuple[Planned, ...] = ()


def choose_plan(lab: Laboratory, budgets: tuple[Budget, ...]) -> Planned:
    """The plan that was given, one scheme for all, or what the search finds within the budgets.

    Raises
    ------
    PlanError, BudgetError, DataError
        As `require_plan`.
    """
    require_plan(lab, budgets)
    if lab.aim.plan is not None:
        return Planned(plan=fitted(lab.aim.plan, lab.aim.inventory, lab.source.file.sha256, lab.journal))
    if lab.options.goal.scheme is not None:
        everywhere = {site.key: site.schemes[-1] for site in lab.aim.inventory.sites}
        return Planned(plan=_plan(lab, "uniform", everywhere, ()))
    with lab.journal.stage("search"):
        return _search(lab, budgets)


def require_plan(lab: Laboratory, budgets: tuple[Budget, ...]) -> None:
    """Raise what makes `choose_plan` impossible, before any work.

    Raises
    ------
    PlanError, BudgetError
        If the plan doesn't fit the model, a budget is out of reach, or there is neither.
    DataError
        If losses are to be measured without data.
    """
    inventory = lab.aim.inventory
    if lab.aim.plan is not None:
        lab.aim.plan.check_fits(inventory, lab.source.file.sha256)
    elif lab.options.goal.scheme is not None:
        if not inventory.sites:
            raise PlanError(f"no weight of the model can have {lab.options.goal.scheme}; domino-onnx inspect says why")
    elif not budgets:
        if lab.options.goal.max_drop is not None:
            raise PlanError("--max-drop is for compress: give --sparsity, --flops-reduction, --scheme or --plan")
        raise PlanError(
            "nothing says how sparse the model becomes: give --sparsity, --flops-reduction, --scheme or --plan, or "
            "--max-drop to compress"
        )
    else:
        require_reachable(budgets, inventory)
        chosen_strategy(lab)


def fitted(plan: Plan, inventory: Inventory, source_sha256: str, journal: Journal) -> Plan:
    """A plan that was given, checked against the model. Budgets that it doesn't meet are dropped, with those that
    can't be checked.

    Raises
    ------
    PlanError
        If it was made for another file, or names a weight or a scheme that doesn't fit.
    """
    plan.check_fits(inventory, source_sha256)
    met = tuple(budget for budget in plan.budgets if _is_met(budget, plan, inventory, journal))
    return dataclasses.replace(plan, budgets=met)


def _is_met(budget: Budget, plan: Plan, inventory: Inventory, journal: Journal) -> bool:
    """Whether a plan meets a budget that it names; a warning if it doesn't, or if that can't be told."""
    try:
        if budget.is_met(inventory, plan.schemes):
            return True
        achieved = budget.achieved_at_least(inventory, plan.schemes)
    except BudgetError as error:
        journal.warn(f"whether the plan reduces {budget.measure} by {budget.reduction:g} can't be checked", error)
        return False
    journal.warn(f"the plan reduces {budget.measure} by {achieved:g}, but names {budget.reduction:g}")
    return False


def _plan(lab: Laboratory, strategy: str, schemes: Mapping[WeightKey, NMScheme], budgets: tuple[Budget, ...]) -> Plan:
    return Plan(
        source_sha256=lab.source.file.sha256,
        strategy=strategy,
        schemes=FrozenMapping(schemes),
        budgets=budgets,
        target=lab.aim.target,
        seed=lab.options.run.seed,
    )


def _search(lab: Laboratory, budgets: tuple[Budget, ...]) -> Planned:
    strategy = chosen_strategy(lab)
    if strategy in MEASURED:
        try:
            return _by_losses(lab, strategy, budgets, lab.losses())
        except (DependencyError, ModelError) as error:
            refit = "" if lab.options.solver.method == "magnitude" else ", and no weight can be refitted"
            lab.journal.warn(f"losses can't be measured, so the schemes follow from the weights alone{refit}", error)
            strategy = "domino"
    if strategy == "domino":
        return _by_domino(lab, budgets)
    found = (search_uniform if strategy == "uniform" else search_erk)(lab.aim.inventory, budgets)
    return Planned(plan=_plan(lab, strategy, found, budgets))


def chosen_strategy(lab: Laboratory) -> Strategy:
    """What `auto` means.

    Raises
    ------
    DataError
        If losses are to be measured without data.
    """
    strategy, split = lab.options.search.strategy, lab.source.split
    if strategy in MEASURED and split is None:
        raise DataError(f"strategy {strategy} measures losses on data: give --data, or search.strategy = 'domino'")
    if strategy == "auto":
        return "domino" if split is None or not lab.aim.inventory.sites else "sensitivity"
    return strategy


def two_may_be_refitted(lab: Laboratory, strategy: Strategy | None) -> bool:
    """Whether a refit decides where a search by this strategy has come to two plans."""
    return strategy == "sensitivity" and len(lab.aim.inventory.sites) > 1 and lab.options.solver.method == "refit"


def _by_domino(lab: Laboratory, budgets: tuple[Budget, ...]) -> Planned:
    result = search_domino(
        lab.aim.inventory,
        budgets,
        lab.floats,
        lab.options.search.domino,
        gradients=_gradients(lab),
        progress=lambda budget, done: lab.journal.progress(
            done, budget.reduction, f"{percent(done)} of {budget.measure}"
        ),
    )
    return Planned(plan=_plan(lab, "domino", result.schemes, budgets), decisions=result.decisions)


def _gradients(lab: Laboratory) -> GradientSource | None:
    """Gradients for `domino` where there are data and the model has a torch counterpart, else None."""
    if not lab.options.search.gradients or not lab.aim.inventory.sites:
        return None
    without = "DominoSearch goes by the weights alone, without gradients"
    if not lab.trainable:
        lab.journal.warn(f"{without}: {ONLY_INTEGERS}")
        return None
    if lab.source.split is None:
        lab.journal.warn(f"no data: {without}")
        return None
    try:
        student = lab.student()
    except (DependencyError, ModelError, FinetuneError) as error:
        lab.journal.warn(without, error)
        return None
    from domino_onnx.finetuning import DistillationGradients

    run = lab.options.run
    return DistillationGradients(student, lab.trainable, batch_size=run.batch_size, seed=run.seed)


def _by_losses(lab: Laboratory, strategy: Strategy, budgets: tuple[Budget, ...], table: LossTable) -> Planned:
    if strategy == "measured-domino":
        result = search_measured_domino(lab.aim.inventory, budgets, table)
        return Planned(plan=_plan(lab, strategy, result.schemes, budgets), decisions=result.decisions)
    schemes = search_sensitivity(lab.aim.inventory, budgets, table)
    return Planned(
        plan=_plan(lab, strategy, schemes, budgets),
        alternatives=_alternatives(lab, strategy, budgets, table, schemes),
    )


def _alternatives(
    lab: Laboratory,
    strategy: Strategy,
    budgets: tuple[Budget, ...],
    table: LossTable,
    schemes: Mapping[WeightKey, NMScheme],
) -> tuple[Planned, ...]:
    """The plan for a network that mends much of what goes wrong early, where that is another one."""
    other = search_sensitivity(lab.aim.inventory, budgets, table.mended(_LEFT_OF_THE_FIRST))
    found = () if other == schemes else (Planned(plan=_plan(lab, strategy, other, budgets)),)
    if two_may_be_refitted(lab, strategy):
        lab.journal.correct("refit", len(found) - SECOND_PLAN)
    return found

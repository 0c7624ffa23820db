"""The stage that chooses schemes: a strategy, a plan file, or one scheme for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from domino_onnx.errors import DataError, ModelError, PlanError
from domino_onnx.scheme import OPTION, Budget, FrozenMapping, NMScheme, Plan, WeightKey, require_reachable
from domino_onnx.search import (
    Decision,
    GradientSource,
    LossTable,
    Prediction,
    search_domino,
    search_erk,
    search_measured_domino,
    search_sensitivity,
    search_uniform,
)
from domino_onnx.stages.context import ONLY_INTEGERS, Run
from domino_onnx.stages.options import Strategy

if TYPE_CHECKING:
    from domino_onnx.reconstruction import Network

__all__ = ["Planned", "choose_plan", "fitted"]

_MEASURED = ("sensitivity", "measured-domino")
_BAD_AGREEMENT = 0.9
_BAD_ERROR = 0.1
"""From where on a user is warned: less of the answers kept, or more of an output's variance lost."""
_BISECTIONS = 6
_LEFT_OF_THE_FIRST = 0.1
"""What remains of the first layer's loss in the plan that counts on later layers to mend it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, the way to it, and what it is expected to cost where that was measured.

    `alternatives` are plans that only a refit can tell to be better or worse.
    """

    plan: Plan
    decisions: tuple[Decision, ...] = ()
    prediction: Prediction | None = None
    alternatives: tuple[Planned, ...] = ()


def choose_plan(run: Run, budgets: tuple[Budget, ...] = ()) -> Planned:
    """The plan that the options ask for, or that `budgets` do instead of theirs.

    Raises
    ------
    PlanError, BudgetError
        If it doesn't fit the model, or a budget is out of reach.
    """
    options = run.options
    if options.plan is not None:
        return Planned(plan=fitted(run, Plan.load(options.plan)))
    if options.scheme is not None:
        everywhere = {site.key: site.schemes[-1] for site in run.inventory.sites}
        if not everywhere:
            raise PlanError(f"no weight of the model can have {options.scheme}; domino-onnx inspect says why")
        return Planned(plan=_plan(run, "uniform", everywhere, ()))
    wanted = budgets or options.budgets
    if not wanted:
        raise PlanError(
            "nothing says how sparse the model shall be: give --sparsity, --flops-reduction, --scheme or --plan"
        )
    require_reachable(wanted, run.inventory)
    with run.stage("search"):
        return _search(run, wanted)


def fitted(run: Run, plan: Plan) -> Plan:
    """A plan that was given, checked against the model; without the budgets that an edit has left behind."""
    plan = run.admit(plan)
    plan.check_fits(run.inventory, run.file.sha256)
    met = tuple(budget for budget in plan.budgets if budget.is_met(run.inventory, plan.schemes))
    for budget in plan.budgets:
        if budget not in met:
            achieved = budget.achieved(run.inventory, plan.schemes)
            wanted = f"{budget.reduction:g} that it names"
            run.warn(f"the plan reduces {budget.measure} by {achieved:.4g}, not by the {wanted}")
    return dataclasses.replace(plan, budgets=met)


def _plan(run: Run, strategy: str, schemes: Mapping[WeightKey, NMScheme], budgets: tuple[Budget, ...]) -> Plan:
    return Plan(
        source_sha256=run.file.sha256,
        strategy=strategy,
        schemes=FrozenMapping(schemes),
        budgets=budgets,
        target=run.target,
        seed=run.options.seed,
    )


def _search(run: Run, budgets: tuple[Budget, ...]) -> Planned:
    strategy = _strategy(run)
    if strategy in _MEASURED:
        table = _measured(run)
        if table is not None:
            return _by_losses(run, strategy, budgets, table)
        strategy = "domino"
    if strategy == "uniform":
        return Planned(plan=_plan(run, strategy, search_uniform(run.inventory, budgets), budgets))
    if strategy == "erk":
        return Planned(plan=_plan(run, strategy, search_erk(run.inventory, budgets), budgets))
    result = search_domino(
        run.inventory,
        budgets,
        run.floats,
        run.options.domino,
        gradients=_gradients(run) if run.options.search_with_data and run.inventory.sites else None,
        progress=lambda budget, done: run.progress(done, budget.reduction, f"{done:.1%} of {budget.measure}"),
    )
    return Planned(plan=_plan(run, "domino", result.schemes, budgets), decisions=result.decisions)


def _strategy(run: Run) -> Strategy:
    """What `auto` means; measuring without data is an error."""
    strategy = run.options.strategy
    if strategy in _MEASURED and run.data is None:
        raise DataError(f"--strategy {strategy} measures losses on data: give --data, or use --strategy domino")
    if strategy == "auto":
        return "domino" if run.data is None or not run.inventory.sites else "sensitivity"
    return strategy


def _measured(run: Run) -> LossTable | None:
    """The loss of every scheme of every site, measured once; None with a warning where the model can't be cut up."""
    if run.losses is not None:
        return run.losses
    from domino_onnx.reconstruction import SensitivityOptions, measure_sensitivity

    consequence = "losses can't be measured, so the schemes are chosen by domino"
    network: Network | None = run.network(consequence)
    if network is None or not network.layers:
        return None
    try:
        options = SensitivityOptions(criterion=run.options.saliency)
        run.losses = measure_sensitivity(network, run.inventory, run.floats, options, run.progress)
    except ModelError as error:
        run.give_up_network(consequence, error)
    return run.losses


def _by_losses(run: Run, strategy: Strategy, budgets: tuple[Budget, ...], table: LossTable) -> Planned:
    decisions: tuple[Decision, ...] = ()
    if strategy == "measured-domino":
        result = search_measured_domino(run.inventory, budgets, table)
        schemes, decisions = result.schemes, result.decisions
    else:
        schemes = search_sensitivity(run.inventory, budgets, table)
    planned = _predicted(run, strategy, budgets, table, schemes)
    asked_for = budgets == run.options.budgets
    if asked_for and planned.prediction is not None and _is_bad(planned.prediction):
        _warn_of_loss(run, budgets, table, planned.prediction)
    return dataclasses.replace(
        planned, decisions=decisions, alternatives=_alternatives(run, strategy, budgets, table, schemes)
    )


def _predicted(
    run: Run,
    strategy: Strategy,
    budgets: tuple[Budget, ...],
    table: LossTable,
    schemes: Mapping[WeightKey, NMScheme],
) -> Planned:
    return Planned(plan=_plan(run, strategy, schemes, budgets), prediction=table.predict(run.inventory, schemes))


def _alternatives(
    run: Run,
    strategy: Strategy,
    budgets: tuple[Budget, ...],
    table: LossTable,
    schemes: Mapping[WeightKey, NMScheme],
) -> tuple[Planned, ...]:
    """The plan for a network that mends much of what goes wrong early, where that is another one."""
    if strategy != "sensitivity":
        return ()
    other = search_sensitivity(run.inventory, budgets, table.mended(_LEFT_OF_THE_FIRST))
    return () if other == schemes else (_predicted(run, strategy, budgets, table, other),)


def _warn_of_loss(run: Run, budgets: tuple[Budget, ...], table: LossTable, prediction: Prediction) -> None:
    """Say that a plan is going to hurt, and which share of its reduction would not."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        share = (low + high) / 2
        gentler = [dataclasses.replace(budget, reduction=share * budget.reduction) for budget in budgets]
        schemes = search_sensitivity(run.inventory, gentler, table)
        low, high = (low, share) if _is_bad(table.predict(run.inventory, schemes)) else (share, high)
    better = " and ".join(f"{OPTION[budget.measure]} {low * budget.reduction:.2g}" for budget in budgets)
    advice = f"; {better} would keep that small" if low > 0 else ""
    run.warn(
        f"this budget is expected to change the model's answers: before any finetuning, {prediction.in_words()}{advice}"
    )


def _is_bad(prediction: Prediction) -> bool:
    if prediction.agreement is not None:
        return prediction.agreement < _BAD_AGREEMENT
    return prediction.loss > _BAD_ERROR


def _gradients(run: Run) -> GradientSource | None:
    """Gradients for `domino` where there are data and the model has a torch counterpart, else None."""
    if not run.learning:
        run.warn(f"the search runs without gradients: {ONLY_INTEGERS}")
        return None
    distillation = run.distillation(run.model, "the search runs without gradients")
    if distillation is None:
        return None
    from domino_onnx.finetuning import DistillationGradients

    return DistillationGradients(distillation, run.learning, batch_size=run.options.batch_size, seed=run.options.seed)

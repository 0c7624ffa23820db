"""`domino-onnx search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_given, check_outputs
from domino_onnx.files import Replacing, check_ending
from domino_onnx.options import Goal

__all__ = ["command"]


@cloup.command("search", short_help="Choose an N:M scheme for every weight; write a plan.")
@o.model_argument
@o.goal_options(o.SPARSITY, o.FLOPS_REDUCTION, o.SCHEME)
@o.data_options(o.DATA, o.METRIC, o.OUTPUT_KIND, o.BATCH_AXIS, o.INPUT_SHAPE)
@o.target_options(o.TARGET_WITHOUT_PLAN, o.SPEED_ONLY, o.INCLUDE, o.EXCLUDE, o.POOL)
@o.output_options(
    cloup.option(
        "-o", "--output", type=o.PATH, default="plan.json", metavar="FILE", help="Plan to write. [default: plan.json]"
    ),
    o.FORCE,
)
@o.run_options(o.RECIPE, o.BATCH_SIZE, *o.RESOURCES, o.SEED)
def command(
    model: Path,
    output: Path,
    recipe: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Choose an N:M scheme for every weight of MODEL, and write them as a plan that you can edit and apply.

    \b
    domino-onnx search model.onnx --sparsity 0.75 --data calibration.npz -o plan.json
    domino-onnx apply model.onnx plan.json --data calibration.npz -o model.sparse.onnx
    """
    from domino_onnx.pipeline import search
    from domino_onnx.report.searched import search_document, search_view
    from domino_onnx.stages import write_text

    o.begin(verbose, quiet)
    options = o.chosen_options(recipe)
    if not options.goal.budgets and options.goal.scheme is None:
        raise click.UsageError(f"{_unanswered(options.goal)}: give --sparsity, --flops-reduction or --scheme")
    check_given(options)
    replacing = Replacing(force=force)
    check_outputs(output, None, (model,), (recipe, *options.inputs), replacing, what="plan")
    check_ending(output, (".json",), what="plan")
    with observing(quiet) as observer:
        result = search(model, options, observer)
    write_text(output, result.plan.to_json(), replacing, what="plan")
    document = {**search_document(result), "plan": str(output)}
    present_or_json(search_view(result), document, as_json=as_json, quiet=quiet)


def _unanswered(goal: Goal) -> str:
    """Why the goal is none for a search; a recipe's may be one for another command."""
    if goal.max_drop is not None:
        return "the recipe's goal.max_drop is for `domino-onnx compress`"
    if goal.plan is not None:
        return "the recipe's goal.plan is for `domino-onnx compress`, and leaves nothing to search"
    return "nothing says how sparse the model becomes"

"""`domino-onnx sweep`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_given, check_outputs, folder_for
from domino_onnx.cli.interrupting import resumable
from domino_onnx.cli.types import Share

__all__ = ["command"]

_SHARES = (0.5, 0.625, 0.75, 0.8125, 0.875, 0.9)


@cloup.command("sweep", short_help="Say what a model is worth with ever more zeros.")
@o.model_argument
@cloup.option_group(
    "Goal",
    cloup.option(
        "--sparsity",
        "shares",
        type=Share(closed=False),
        multiple=True,
        default=_SHARES,
        metavar="S",
        help="Share of zeros to try; repeatable. [default: 0.5 0.625 0.75 0.8125 0.875 0.9]",
    ),
)
@o.data_options(o.DATA, o.EVAL_DATA, o.METRIC, o.OUTPUT_KIND, o.BATCH_AXIS, o.INPUT_SHAPE)
@o.target_options(o.TARGET_WITHOUT_PLAN, o.SPEED_ONLY, o.INCLUDE, o.EXCLUDE, o.POOL)
@o.output_options(
    o.REPORT,
    cloup.option("--plans", type=o.PATH, metavar="DIR", help="Also write each plan into this folder, for apply."),
    o.FORCE,
)
@o.run_options(o.RECIPE, o.CHECKPOINT_OF_SWEEP, o.RESUME, o.BATCH_SIZE, *o.RESOURCES, o.SEED)
def command(
    model: Path,
    shares: tuple[float, ...],
    report: Path | None,
    plans: Path | None,
    recipe: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Say what MODEL is worth with ever more zeros: a refitted plan for each share, without finetuning.

    \b
    domino-onnx sweep model.onnx --data calibration.npz --eval-data evaluation.npz --report front.html
    domino-onnx sweep model.onnx --sparsity 0.5 --sparsity 0.6 --data calibration.npz --plans plans
    """
    from domino_onnx.pipeline import sweep
    from domino_onnx.report.sweep import sweep_document, sweep_view
    from domino_onnx.stages import checkpoint_folder, name_of_plan, name_of_sweep, replacing_of

    o.begin(verbose, quiet)
    options = o.chosen_options(recipe, has_goal=False)
    check_given(options)
    place = name_of_sweep(model, report, plans)
    replacing = replacing_of(options, place, force=force)
    check_outputs(None, report, (model,), (recipe, *options.inputs), replacing)
    with contextlib.ExitStack() as block:
        if plans is not None:
            read = (model, recipe, *options.inputs)
            block.enter_context(folder_for(plans, map(name_of_plan, shares), read, replacing))
        block.enter_context(resumable(checkpoint_folder(options, place)))
        observer = block.enter_context(observing(quiet))
        result = sweep(model, shares, options, observer, force=force, report=report, plans=plans)
    present_or_json(sweep_view(result), sweep_document(result), as_json=as_json, quiet=quiet)

"""`domino-onnx apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_given, check_outputs
from domino_onnx.cli.interrupting import resumable
from domino_onnx.files import name_beside

__all__ = ["command"]


@cloup.command("apply", short_help="Prune a model as a plan says.")
@o.model_argument
@cloup.argument("plan", type=o.PATH)
@o.data_options(o.DATA, o.EVAL_DATA, o.METRIC, o.OUTPUT_KIND, o.BATCH_AXIS)
@o.target_options(o.TARGET, o.SPEED_ONLY)
@o.output_options(o.OUTPUT, o.FORMAT, o.PRECISION, o.WEIGHTS, o.REPORT, o.FORCE)
@o.run_options(o.RECIPE, o.CHECKPOINT, o.RESUME, o.BATCH_SIZE, *o.RESOURCES, o.SEED)
def command(
    model: Path,
    plan: Path,
    output: Path | None,
    report: Path | None,
    recipe: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Prune MODEL as PLAN says, refit the weights that are left, write the file, and check that it runs.

    \b
    domino-onnx apply model.onnx plan.json --data calibration.npz -o model.sparse.onnx
    """
    from domino_onnx.pipeline import apply
    from domino_onnx.report.compressed import compress_view
    from domino_onnx.report.compressed_document import compress_document
    from domino_onnx.scheme import Plan
    from domino_onnx.stages import checkpoint_folder, replacing_of

    o.begin(verbose, quiet)
    options = o.chosen_options(recipe, has_goal=False)
    check_given(options)
    schemes = Plan.load(plan)
    written = output or name_beside(model, "sparse")
    replacing = replacing_of(options, written, force=force)
    check_outputs(written, report, (model,), (plan, recipe, *options.inputs), replacing)
    with resumable(checkpoint_folder(options, written)), observing(quiet) as observer:
        result = apply(model, schemes, written, options, observer, force=force, report=report)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

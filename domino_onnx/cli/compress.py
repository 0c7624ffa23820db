"""`domino-onnx compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.files import check_given, check_outputs
from domino_onnx.cli.interrupting import resumable
from domino_onnx.files import name_beside

__all__ = ["command"]


@cloup.command("compress", short_help="Prune a model to a goal, finetune it, write and check it.")
@o.model_argument
@o.goal_options(o.SPARSITY, o.FLOPS_REDUCTION, o.MAX_DROP, o.SCHEME, o.PLAN)
@o.data_options(o.DATA, o.EVAL_DATA, o.METRIC, o.OUTPUT_KIND, o.BATCH_AXIS, o.INPUT_SHAPE)
@o.target_options(o.TARGET, o.SPEED_ONLY, o.INCLUDE, o.EXCLUDE, o.POOL)
@o.output_options(o.OUTPUT, o.FORMAT, o.PRECISION, o.WEIGHTS, o.DEPLOY, o.REPORT, o.FORCE)
@o.finetuning_options(o.FINETUNE, o.FINETUNE_STEPS, o.FINETUNE_TIME)
@o.run_options(o.RECIPE, o.CHECKPOINT, o.RESUME, o.BATCH_SIZE, *o.RESOURCES, o.SEED)
def command(
    model: Path,
    output: Path | None,
    report: Path | None,
    recipe: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Prune MODEL to a goal, with a scheme of its own for every weight; finetune, write and check it.

    \b
    domino-onnx compress model.onnx --sparsity 0.75 --data calibration.npz
    domino-onnx compress model.onnx --max-drop 0.01 --data calibration.npz --eval-data evaluation.npz
    domino-onnx compress model.onnx --scheme 2:4 --target tensorrt --data calibration.npz

    docs/options.md lists the options that a recipe has beyond these.
    """
    from domino_onnx.pipeline import assist, compress
    from domino_onnx.report.compressed import compress_view
    from domino_onnx.report.compressed_document import compress_document
    from domino_onnx.stages import checkpoint_folder, is_assistant, replacing_of

    o.begin(verbose, quiet)
    options = o.chosen_options(recipe)
    if not options.goal.is_given:
        raise click.UsageError(
            "nothing says how sparse the model becomes: give --sparsity, --flops-reduction, --max-drop, --scheme or "
            "--plan"
        )
    check_given(options)
    written = output or name_beside(model, "sparse")
    replacing = replacing_of(options, written, force=force)
    check_outputs(written, report, (model,), (recipe, *options.inputs), replacing)
    if is_assistant():
        if options.finetune.enabled:
            assist(model, options)
        return
    with resumable(checkpoint_folder(options, written)), observing(quiet) as observer:
        result = compress(model, written, options, observer, force=force, report=report)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

"""`domino-onnx finetune`."""

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


@cloup.command("finetune", short_help="Finetune a pruned file towards its dense teacher.")
@o.model_argument
@o.data_options(
    cloup.option(
        "--teacher",
        type=o.PATH,
        metavar="FILE",
        help="Dense model that MODEL came from. [default: found by its hash next to MODEL]",
    ),
    o.data_option(
        "Samples to learn from: .npz, a folder of them or of .npy, or images with a preprocessing.yaml. "
        "Default: drawn ones."
    ),
    o.EVAL_DATA,
    o.METRIC,
    o.OUTPUT_KIND,
    o.BATCH_AXIS,
)
@o.output_options(o.OUTPUT, o.FORMAT, o.PRECISION, o.WEIGHTS, o.REPORT, o.FORCE)
@o.finetuning_options(o.FINETUNE_STEPS, o.FINETUNE_TIME)
@o.run_options(o.RECIPE, o.CHECKPOINT, o.RESUME, o.BATCH_SIZE, *o.RESOURCES, o.SEED)
def command(
    model: Path,
    teacher: Path | None,
    output: Path | None,
    report: Path | None,
    recipe: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    **_: Any,
) -> None:
    """Finetune MODEL, a file that domino-onnx wrote, towards its dense teacher. What is pruned stays pruned.

    \b
    domino-onnx finetune model.sparse.onnx --data calibration.npz -o model.finetuned.onnx
    domino-onnx finetune model.sparse.onnx --teacher ../model.onnx --data calibration.npz
    """
    from domino_onnx.pipeline import assist, finetune
    from domino_onnx.report.compressed import compress_view
    from domino_onnx.report.compressed_document import compress_document
    from domino_onnx.stages import checkpoint_folder, is_assistant, replacing_of, teacher_beside

    o.begin(verbose, quiet)
    options = o.chosen_options(recipe, has_goal=False)
    check_given(options)
    written = output or name_beside(model, "finetuned")
    dense = teacher or teacher_beside(model)
    replacing = replacing_of(options, written, force=force)
    check_outputs(written, report, (model, dense), (recipe, *options.inputs), replacing)
    if is_assistant():
        assist(model, options, teacher=dense)
        return
    with resumable(checkpoint_folder(options, written)), observing(quiet) as observer:
        result = finetune(model, dense, written, options, observer, force=force, report=report)
    present_or_json(compress_view(result, report), compress_document(result), as_json=as_json, quiet=quiet)

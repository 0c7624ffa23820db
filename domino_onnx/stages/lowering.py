"""The stage between weights and file: everything in fewer bits, where that is wanted."""

from __future__ import annotations

from domino_onnx.precision import Lowered, lower
from domino_onnx.scheme import Manifest
from domino_onnx.stages.context import Run
from domino_onnx.stages.solving import Weights

__all__ = ["lowered"]


def lowered(run: Run, values: Weights, manifest: Manifest | None) -> Lowered:
    """What to write, as it was given if nothing is to be converted.

    Raises
    ------
    ModelError
        If the model can't be converted.
    """
    wanted = run.options.lowering
    if not wanted.is_needed:
        return Lowered(file=run.file, values=values, manifest=manifest)
    return lower(run.file, values, manifest, wanted)

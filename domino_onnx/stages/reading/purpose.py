"""What a file is read for. A file that can't serve that is refused before any work."""

from __future__ import annotations

from typing import Literal

from domino_onnx.deployment.operators import is_deployed
from domino_onnx.errors import ModelError, PlanError
from domino_onnx.graph import OnnxFile, read_manifest
from domino_onnx.plurals import quantity
from domino_onnx.scheme import Manifest

__all__ = ["Purpose", "doubt_of_pruned", "manifest_to_finetune", "require_suited"]

Purpose = Literal["look", "prune", "finetune", "judge", "convert", "deploy"]
"""To say what is in it, to choose schemes or weights, to train the weights that an earlier run kept, to say what
TensorRT can run, to store fewer bits, or to write it for the CPU."""
_OF_DEPLOYED: dict[Purpose, str] = {
    "prune": "can't be pruned",
    "finetune": "can't be pruned",
    "judge": "can't run in TensorRT",
    "convert": "can't be stored in fewer bits",
    "deploy": "can't be deployed once more",
}
"""Why a file whose weights are in operators of our own is refused."""


def require_suited(file: OnnxFile, purpose: Purpose) -> None:
    """Refuse a file by what it is, without looking at weights or data.

    Raises
    ------
    ModelError
        If it was deployed, and is to serve for more than a look: its weights are in operators of our own.
    PlanError
        If it is to be finetuned, and `manifest_to_finetune` finds nothing to go by.
    """
    why = _OF_DEPLOYED.get(purpose)
    if why is not None and is_deployed(file.proto):
        raise ModelError(f"{file.path} was deployed for the CPU and {why}: give the file it was made from")
    if purpose == "finetune":
        manifest_to_finetune(file)


def doubt_of_pruned(file: OnnxFile) -> str | None:
    """What pruning a file once more forgets; None if its manifest names no pruned weight.

    Raises
    ------
    CheckFailed
        If its manifest can't be read.
    """
    manifest = read_manifest(file.proto)
    count = 0 if manifest is None else sum(not entry.scheme.is_dense for entry in manifest.entries)
    if manifest is None or not count:
        return None
    suited, forgets = "", "their schemes"
    if manifest.target != "generic":
        suited, forgets = f", for the target {manifest.target}", "their schemes and the target"
    return (
        f"{file.path} was pruned before: {quantity(count, 'weight')}{suited}. This run forgets {forgets}: give the "
        "dense model, or train the weights that are left with `domino-onnx finetune`"
    )


def manifest_to_finetune(file: OnnxFile) -> Manifest:
    """The manifest of a file whose kept weights can be trained.

    Raises
    ------
    PlanError
        If the file has no manifest, or its weights are stored in types that no gradient moves.
    """
    manifest = read_manifest(file.proto)
    if manifest is None:
        raise PlanError(
            f"{file.path} has no domino-onnx manifest; make it with `domino-onnx compress` or `apply` first"
        )
    if manifest.weight_type != "keep":
        raise PlanError(
            f"the weights of {file.path} are {manifest.weight_type}, which can't be finetuned. Finetune the file "
            f"that it was made from, with --weights {manifest.weight_type}, or compress again without"
        )
    return manifest

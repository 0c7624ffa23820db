"""The dense model that a pruned file came from, found by the hash in its manifest."""

from __future__ import annotations

from pathlib import Path

from domino_onnx.errors import ModelError, PlanError
from domino_onnx.graph import read_manifest, read_model
from domino_onnx.plurals import quantity

__all__ = ["teacher_beside"]


def teacher_beside(model: Path) -> Path:
    """The .onnx file in the folder of `model` whose hash the manifest names.

    Raises
    ------
    PlanError
        If the file has no manifest, or no file next to it is the one.
    ModelError
        If the model can't be read.
    """
    manifest = read_manifest(read_model(model).proto)
    if manifest is None:
        raise PlanError(f"{model} has no domino-onnx manifest; make it with `domino-onnx compress` or `apply` first")
    others = sorted(path for path in model.parent.glob("*.onnx") if path.is_file() and not path.samefile(model))
    found = next((path for path in others if _is_the_one(path, manifest.source_sha256)), None)
    if found is None:
        raise PlanError(
            f"the dense model that {model} came from (SHA-256 {manifest.source_sha256[:12]}...) is not among the "
            f"{quantity(len(others), 'other .onnx file')} in its folder: give --teacher FILE"
        )
    return found


def _is_the_one(path: Path, sha256: str) -> bool:
    """False for what can't be read, too."""
    try:
        return read_model(path).fingerprint.is_named(sha256)
    except ModelError:
        return False

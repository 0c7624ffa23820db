"""The recipe of a run, as reports for people show it."""

from __future__ import annotations

from domino_onnx.codec import encode
from domino_onnx.options import CompressOptions, recipe_document

__all__ = ["recipe_text"]


def recipe_text(options: CompressOptions) -> str:
    """JSON that `--recipe` takes from a .json file."""
    return encode({"recipe": recipe_document(options)}, indent=1)

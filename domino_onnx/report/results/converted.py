"""What a file became in another form."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from domino_onnx.graph import WeightForm
from domino_onnx.precision import Conversion
from domino_onnx.storage import FileForm, Form

__all__ = ["ConvertResult"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """A file that was written in another form; sizes are those of all files of a model, in bytes.

    `weight_forms` tells how each weight is stored now, and is empty for a dense file.
    """

    model: Path
    output: Path
    before: FileForm
    form: Form
    conversion: Conversion
    bytes_before: int
    bytes_after: int
    weight_forms: tuple[WeightForm, ...]
    warnings: tuple[str, ...]

"""What the tests of this folder read from written files, and how they prune."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.scheme import NMScheme

__all__ = ["manifest", "options", "weights"]


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def manifest(path: Path) -> dict[str, Any]:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return json.loads(entries["domino_onnx.manifest"])


def options(more: Mapping[str, Any] | None = None) -> CompressOptions:
    """2:4 without finetuning; `more` by ``group.field``."""
    fields = {
        "goal.scheme": NMScheme(2, 4),
        "data.calibration": NO_DATA,
        "finetune.enabled": False,
        "run.threads": 1,
    }
    return overridden(CompressOptions(), {**fields, **(more or {})})

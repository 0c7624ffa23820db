"""What the fields of the option groups are called as keywords of Python functions."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import MappingProxyType

from domino_onnx.options.compress import CompressOptions

__all__ = ["KEYWORDS"]

_OTHERWISE = {
    "data.calibration": "data",
    "data.evaluation": "eval_data",
    "target.runtime": "target",
    "solver.method": "solver",
    "finetune.enabled": "finetune",
}


def _keyword(group: str, field: str) -> str:
    """The field's own name, as on the command line; finetuning's say that they are."""
    return _OTHERWISE.get(f"{group}.{field}", f"finetune_{field}" if group == "finetune" else field)


def _keywords() -> dict[str, str]:
    groups = typing.get_type_hints(CompressOptions)
    return {
        _keyword(group.name, field.name): f"{group.name}.{field.name}"
        for group in dataclasses.fields(CompressOptions)
        for field in dataclasses.fields(groups[group.name])
    }


KEYWORDS: Mapping[str, str] = MappingProxyType(_keywords())
"""The ``group.field`` of each keyword, all different."""

"""JSON documents, the shape that scripts rely on: how one is written, and parts that several have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from domino_onnx.codec import encode
from domino_onnx.scheme import Skip
from domino_onnx.search import Decision

__all__ = ["Document", "decision_document", "dump", "skip_document"]


Document = dict[str, Any]


def dump(document: Mapping[str, Any]) -> str:
    """One JSON document; what isn't finite becomes null, since JSON has no NaN."""
    return encode(_finite(document), indent=1)


def skip_document(skip: Skip) -> Document:
    """A weight that stays as it is, and why."""
    return {
        "name": skip.name,
        "weight": skip.key.name,
        "scope": list(skip.key.scope),
        "op": skip.op,
        "shape": list(skip.shape),
        "params": skip.params,
        "counted": skip.counted,
        "reason": skip.reason,
    }


def decision_document(decision: Decision) -> Document:
    """A step of the search."""
    return {
        "step": decision.step,
        "kind": decision.kind,
        "weight": str(decision.key) if decision.key else None,
        "scheme": str(decision.scheme) if decision.scheme else None,
        "achieved": list(decision.achieved),
        "loss": decision.loss,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

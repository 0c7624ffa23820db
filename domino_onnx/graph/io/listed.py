"""Which stored tensors does a model list among its inputs? Up to IR version 3 all of them, and none can be replaced."""

from __future__ import annotations

from onnx import ModelProto

__all__ = ["UNLISTED_SINCE_IR", "lists_constants", "replaceable_names", "unlist_constants"]

UNLISTED_SINCE_IR = 4
"""From here on a stored tensor is among the inputs only if a caller may replace it."""


def lists_constants(model: ModelProto) -> bool:
    """Whether stored tensors are among the inputs because the IR version wants it, and not to be replaced."""
    return model.ir_version < UNLISTED_SINCE_IR and bool(_listed(model))


def replaceable_names(model: ModelProto) -> set[str]:
    """Names of the stored tensors that a caller of the model may replace by an input."""
    return set() if model.ir_version < UNLISTED_SINCE_IR else _listed(model)


def unlist_constants(model: ModelProto) -> None:
    """Make a model of the first IR version that lists no constants; edits `model`, and leaves newer ones alone."""
    if model.ir_version >= UNLISTED_SINCE_IR:
        return
    listed = _listed(model)
    for position in reversed(range(len(model.graph.input))):
        if model.graph.input[position].name in listed:
            del model.graph.input[position]
    model.ir_version = UNLISTED_SINCE_IR


def _listed(model: ModelProto) -> set[str]:
    return {value.name for value in model.graph.input} & {tensor.name for tensor in model.graph.initializer}

"""Where do the windows of a convolution or a pool lie, and do the operators take them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domino_onnx.plurals import quantity

__all__ = ["MOST_AXES", "windows_of"]

MOST_AXES = 3
"""In space, that the operators know."""


def windows_of(attributes: Mapping[str, Any], axes: int) -> dict[str, list[int]] | str:
    """Strides, dilations and pads of a node with so many axes in space; why the operators don't take it otherwise."""
    padding = attributes.get("auto_pad", "NOTSET")
    pads = [0] * (2 * axes) if padding == "VALID" else list(attributes.get("pads", [0] * (2 * axes)))
    if not 1 <= axes <= MOST_AXES:
        return f"it has {quantity(axes, 'axis', 'axes')} in space, not 1 to {MOST_AXES}"
    if padding not in ("NOTSET", "VALID"):
        return "its padding depends on the input (auto_pad)"
    if min(pads) < 0:
        return "its padding is negative"
    return {
        "strides": list(attributes.get("strides", [1] * axes)),
        "dilations": list(attributes.get("dilations", [1] * axes)),
        "pads": pads,
    }

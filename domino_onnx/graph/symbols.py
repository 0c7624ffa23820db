"""Names of axes: inputs that share one have one size there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from onnx import ValueInfoProto

__all__ = ["Axes", "Axis", "declared_axes", "sizes_of_names"]

Axis: TypeAlias = int | str | None
"""A size, a name that is given to one, or neither."""
Axes: TypeAlias = tuple[Axis, ...]


def declared_axes(value: ValueInfoProto) -> Axes | None:
    """The axes of an input or output, None if their number is unknown. A name has a letter at least."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    names = (axis.dim_param.strip() if any(map(str.isalpha, axis.dim_param)) else "" for axis in tensor.shape.dim)
    sizes = (axis.dim_value for axis in tensor.shape.dim)
    return tuple(size if size > 0 else name or None for size, name in zip(sizes, names, strict=True))


def sizes_of_names(inputs: Mapping[str, Axes | None], given: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The sizes of named axes that the given shapes tell; without a name for which they tell several.

    Parameters
    ----------
    inputs
        The declared axes of each.
    given
        Shapes of inputs, by name.
    """
    found: dict[str, set[int]] = {}
    for name, shape in given.items():
        for axis, size in zip(inputs.get(name) or (), shape, strict=False):
            if isinstance(axis, str):
                found.setdefault(axis, set()).add(size)
    return {axis: min(sizes) for axis, sizes in found.items() if len(sizes) == 1}

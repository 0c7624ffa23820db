"""Which activations does the file itself hold in 8 bits: what lies between a QuantizeLinear and DequantizeLinear?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from domino_onnx.deployment.grids import SIGNED, FileValue, Grid
from domino_onnx.deployment.layer import Layer
from domino_onnx.deployment.values import grid_scale, stored_of
from domino_onnx.deployment.windows import MOST_AXES
from domino_onnx.plurals import quantity

__all__ = ["file_values", "on_file_grids"]


def file_values(graph: Any) -> dict[str, FileValue]:
    """Activations on a grid of the file's own, by the names of the floats on both sides of the bytes.

    A tensor that QuantizeLinear reads is named only where nothing else reads it.
    """
    outputs = {id(tensor) for tensor in graph.outputs}
    values: dict[str, FileValue] = {}
    for node in graph.nodes:
        if node.op != "DequantizeLinear" or node.domain or not _is_activation(node.inputs[0]):
            continue
        value = _value(node, outputs)
        if value is None:
            continue
        known = values.setdefault(value.integers, value)
        if known == value:
            values[node.outputs[0].name] = value
            if value.source is not None:
                values[value.source] = value
    integers = {value.integers for value in values.values()}
    return {name: value for name, value in values.items() if name not in integers}


def on_file_grids(layer: Layer, values: Mapping[str, FileValue]) -> Layer | str:
    """The layer, which knows the file's grids if it lies between two; why it can't be deployed on them otherwise."""
    output, weight = values.get(layer.output), layer.nodes[0].inputs[1]
    is_between = layer.data in values and output is not None and output.source == layer.output
    if not is_between or not weight.inputs or weight.inputs[0].op != "DequantizeLinear":
        return layer
    names = [layer.data, layer.output, *([layer.residual] if layer.residual else [])]
    has_room = layer.op == "Conv" or 2 <= layer.rank <= MOST_AXES + 2
    refusals = {
        "it is quantised, but its weight isn't int8 around 0 with a scale for each output": layer.integers is None,
        "it is quantised, and what is added to it isn't": any(name not in values for name in names),
        f"it is quantised, and its input has {quantity(layer.rank, 'axis', 'axes')}, not 2 to {MOST_AXES + 2}": (
            not has_room
        ),
    }
    refused = next((reason for reason, holds in refusals.items() if holds), None)
    return dataclasses.replace(layer, file={name: values[name] for name in names}) if refused is None else refused


def _is_activation(integers: Any) -> bool:
    """Whether a tensor is neither stored nor made of what is."""
    made = integers.inputs[0] if integers.inputs else None
    if made is not None and made.op == "QuantizeLinear":
        return stored_of(made.inputs[0]) is None
    return stored_of(integers) is None


def _value(node: Any, outputs: set[int]) -> FileValue | None:
    """What a DequantizeLinear of an activation says of it."""
    told = grid_scale(node)
    if told is None:
        return None
    scale, zero_point, signed = told
    integers, source = node.inputs[0], None
    if len(integers.inputs) == 1 and integers.inputs[0].op == "QuantizeLinear" and not integers.inputs[0].domain:
        quantizer = integers.inputs[0]
        if grid_scale(quantizer) != told:
            return None
        floats = quantizer.inputs[0]
        if len(floats.outputs) == 1 and id(floats) not in outputs and id(integers) not in outputs:
            source = floats.name
    return FileValue(
        integers=integers.name,
        source=source,
        grid=Grid(scale, zero_point + (SIGNED if signed else 0)),
        is_signed=signed,
    )

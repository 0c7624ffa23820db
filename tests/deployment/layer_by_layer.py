"""Values of a deployed graph, each computed from what ONNX Runtime makes of the file: no rounding adds up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, helper

from domino_onnx.deployment import Layer

from .quantizing import Arrays, told

_MADE = "/made"
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def layer_by_layer(model: ModelProto, changed: ModelProto, layers: Sequence[Layer], inputs: Arrays) -> Pairs:
    """Values of `changed` as `model` says and as they are, by name.

    The graph is cut at all of these values, and what reads one of them gets the one that `model` says.

    Parameters
    ----------
    model
        Each of its nodes has the name of its output.
    """
    said = told(model, inputs, [name for node in model.graph.node for name in node.output])
    known = _counterparts(model, changed, {layer.name: layer.output for layer in layers}, said)
    cut = ModelProto()
    cut.CopyFrom(changed)
    del cut.graph.output[:], cut.graph.value_info[:]
    for node in cut.graph.node:
        for place, name in enumerate(node.output):
            if name in known:
                node.output[place] = name + _MADE
    cut.graph.output.extend(onnx.ValueInfoProto(name=name + _MADE) for name in known)
    cut.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in known.items()
    )
    made = told(cut, {**inputs, **known})
    return {name: (values, made[name + _MADE]) for name, values in known.items()}


def _counterparts(model: ModelProto, changed: ModelProto, ends: Mapping[str, str], said: Arrays) -> Arrays:
    """What `model` says of the values of `changed`, by their names there."""
    before = {node.name: node for node in model.graph.node}
    bytes_of = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    read_by = defaultdict(list)
    for node in changed.graph.node:
        for name in node.input:
            read_by[name].append(node)
    shown = {value.name for value in changed.graph.output}
    known: dict[str, np.ndarray] = {}
    for node in changed.graph.node:
        name = node.output[0]
        if name in said:  # floats that are only read as bytes may be on their grid already
            is_seen = name in shown or any(each.op_type != "QuantizeLinear" for each in read_by[name])
            known |= {name: said[name]} if is_seen else {}
        elif node.name in before:  # it gives bytes, and those of images have the channels last
            is_matrix = before[node.name].op_type in ("Gemm", "MatMul")
            values = said[bytes_of[ends.get(node.name, node.name)]]
            behind = node.op_type in ("NmConvInt8", "NmPoolInt8") and not (is_matrix and values.ndim == 2)
            name = name if behind else read_by[name][0].output[0]
            unsigned = values if values.dtype == np.uint8 else (values.astype(np.int16) + 128).astype(np.uint8)
            known.setdefault(name, unsigned if is_matrix else np.ascontiguousarray(np.moveaxis(unsigned, 1, -1)))
    return known

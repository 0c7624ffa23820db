"""What does a layer take by itself, dense and by operators that skip zeros, on this machine?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.latency import clock_for, interleaved
from domino_onnx.deployment.layer import Layer, Shapes
from domino_onnx.deployment.operators import DOMAIN, DOMAIN_VERSION, Kind, operators_of, written
from domino_onnx.deployment.surgeon import node_protos
from domino_onnx.deployment.values import integers_of, stored_of

__all__ = ["Opened", "Seconds", "time_layer"]

_IR = 8
_SECONDS = 0.15
_MATRIX = 2
_Arrays = Mapping[str, NDArray[Any]]
Opened = Callable[[bytes], Callable[[_Arrays], _Arrays]]
"""Opens a model, and gives a function that runs it."""
Seconds = Mapping[Kind, float]
"""What a layer takes by itself in each of its kinds."""


def time_layer(
    layer: Layer,
    shapes: Shapes,
    opened: Opened,
    *,
    opset: int,
    grids: Mapping[str, Grid] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> Seconds:
    """Time a layer on random inputs of the shape that it has in the model.

    Parameters
    ----------
    shapes
        Of activations, the layer's inputs among them.
    opened
        Opens a model with the operators registered.
    opset
        Version of the standard operators in the model.
    grids
        Of activations, where 8 bits may be taken (`operators_of`).
    threads
        That `opened` gives a model.
    """
    kinds: tuple[Kind, ...] = ("dense", *operators_of(layer, grids))
    generator = np.random.default_rng(seed)
    floats = {
        name: generator.standard_normal(shapes[name], np.float32) for name in (layer.data, layer.residual) if name
    }
    runs = []
    for kind in kinds:
        inputs = dict(_input(layer, kind, name, value) for name, value in floats.items())
        runs.append(functools.partial(opened(_model(layer, kind, grids or {}, opset, inputs)), inputs))
    typical = np.quantile(interleaved(runs, _SECONDS, clock_for(threads)), 0.25, axis=0)
    return {kind: float(each) for kind, each in zip(kinds, typical, strict=True)}


def _input(layer: Layer, kind: Kind, name: str, value: NDArray[np.float32]) -> tuple[str, NDArray[Any]]:
    """An activation as a layer of this kind reads it, and its name."""
    if kind == "dense":
        if layer.file is None:
            return name, value
        return layer.file[name].integers, value.astype(np.int8).view(
            np.int8 if layer.file[name].is_signed else np.uint8
        )
    if not _is_in_bytes(layer, kind):
        return name, value
    integers = value.astype(np.int8).view(np.uint8)
    if layer.op == "Conv":
        integers = np.ascontiguousarray(np.moveaxis(integers, 1, -1))
    elif integers.ndim == _MATRIX:
        integers = integers[:, None]
    return name, integers


def _is_in_bytes(layer: Layer, kind: Kind) -> bool:
    """Whether a layer's activations are bytes."""
    return kind == "quantized" or (kind == "int8" and layer.op == "Conv")


def _model(layer: Layer, kind: Kind, grids: Mapping[str, Grid], opset: int, inputs: _Arrays) -> bytes:
    """A model of one layer."""
    nodes, stored = _dense(layer) if kind == "dense" else _sparse(layer, kind, grids)
    of_output = TensorProto.UINT8 if _is_in_bytes(layer, kind) else TensorProto.FLOAT
    if kind == "dense" and layer.file is not None:
        of_output = TensorProto.INT8 if layer.file[layer.output].is_signed else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "layer",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info(nodes[-1].output[0], of_output, None)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    return bytes(model.SerializeToString())


def _sparse(layer: Layer, kind: Kind, grids: Mapping[str, Grid]) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    node = written(layer, kind, grids)
    stored = {f"{DOMAIN}.{place}": each for place, each in enumerate(node.inputs) if isinstance(each, np.ndarray)}
    inputs = [each if isinstance(each, str) else f"{DOMAIN}.{place}" for place, each in enumerate(node.inputs)]
    return [helper.make_node(node.op, inputs, [layer.output], domain=DOMAIN, **node.attributes)], stored


def _dense(layer: Layer) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    """The nodes of a layer as the model has them, with what makes its integers floats and its floats integers."""
    read = [tensor for node in layer.nodes for tensor in node.inputs]
    before = {id(node): node for tensor in read for node in _dequantizers(tensor, layer)}
    behind = [] if layer.file is None else [layer.nodes[-1].outputs[0].outputs[0]]
    nodes = [*before.values(), *layer.nodes, *behind]
    stored = {tensor.name: stored_of(tensor) for node in nodes for tensor in node.inputs}
    return node_protos(nodes), {name: value for name, value in stored.items() if value is not None}


def _dequantizers(tensor: Any, layer: Layer) -> list[Any]:
    """The nodes that make floats of what is stored, or of the bytes that a quantised layer reads."""
    made = tensor.inputs[0] if tensor.inputs else None
    if made is None or made.op != "DequantizeLinear":
        return []
    if integers_of(tensor) is None:
        return [] if layer.file is None else [made]
    return [*made.inputs[0].inputs, made]

"""What does a layer take by itself, dense and by operators that skip zeros, on this machine?"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.latency import clock_for, interleaved
from domino_onnx.deployment.layers import Layer
from domino_onnx.deployment.operators import DOMAIN, DOMAIN_VERSION, Kind, operators_of, written

__all__ = ["Opened", "Timed", "time_layer"]

_OPSET, _IR = 13, 8
_SECONDS = 0.15
_WORTH_IT = 0.97
"""A layer by itself lacks what it costs between dense ones, so that a hair's breadth is no gain."""
_Arrays = Mapping[str, NDArray[Any]]
Opened = Callable[[bytes], Callable[[_Arrays], _Arrays]]
"""Opens a model, and gives a function that runs it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds of each kind of a layer, and the kind that is the fastest."""

    seconds: Mapping[Kind, float]
    chosen: Kind


def time_layer(
    layer: Layer,
    data_shape: tuple[int, ...],
    opened: Opened,
    *,
    int8: bool,
    grids: Mapping[str, Grid] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> Timed:
    """Time a layer on random inputs of the shape that it has in the model.

    Parameters
    ----------
    opened
        Opens a model with the operators registered.
    grids
        Of activations, where convolutions may be computed in int8.
    threads
        That `opened` gives a model.
    """
    grids = grids or {}
    kinds: tuple[Kind, ...] = ("dense", *operators_of(layer, int8=int8, grids=grids))
    generator = np.random.default_rng(seed)
    floats = {layer.data: generator.standard_normal(data_shape, np.float32)}
    if layer.residual:
        alone = opened(_model(dataclasses.replace(layer, residual=None), "dense", grids))
        floats[layer.residual] = np.zeros(alone(floats)[layer.output].shape, np.float32)
    runs = []
    for kind in kinds:
        inputs = floats
        if _is_in_bytes(layer, kind):
            inputs = {name: np.moveaxis(value, 1, -1).astype(np.int8).view(np.uint8) for name, value in floats.items()}
            inputs = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        runs.append(functools.partial(opened(_model(layer, kind, grids)), inputs))
    typical = np.quantile(interleaved(runs, _SECONDS, clock_for(threads)), 0.25, axis=0)
    seconds: dict[Kind, float] = {kind: float(each) for kind, each in zip(kinds, typical, strict=True)}
    fastest = min(kinds[1:], key=lambda kind: seconds[kind])
    return Timed(seconds=seconds, chosen=fastest if seconds[fastest] < _WORTH_IT * seconds["dense"] else "dense")


def _is_in_bytes(layer: Layer, kind: Kind) -> bool:
    """Whether a layer's activations are bytes."""
    return kind == "int8" and layer.op == "Conv"


def _model(layer: Layer, kind: Kind, grids: Mapping[str, Grid]) -> bytes:
    """A model of one layer."""
    nodes, stored = _dense(layer) if kind == "dense" else _sparse(layer, kind, grids)
    activations = [layer.data, *([layer.residual] if layer.residual else [])]
    of = TensorProto.UINT8 if _is_in_bytes(layer, kind) else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(name, of, None) for name in activations],
        [helper.make_tensor_value_info(layer.output, of, None)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    return bytes(model.SerializeToString())


def _sparse(layer: Layer, kind: Kind, grids: Mapping[str, Grid]) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    node = written(layer, kind, grids)
    stored = {f"{DOMAIN}.{place}": each for place, each in enumerate(node.inputs) if isinstance(each, np.ndarray)}
    inputs = [each if isinstance(each, str) else f"{DOMAIN}.{place}" for place, each in enumerate(node.inputs)]
    return [helper.make_node(node.op, inputs, [layer.output], domain=DOMAIN, **node.attributes)], stored


def _dense(layer: Layer) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    """The standard operators of a layer, one behind the other."""
    stored: dict[str, NDArray[Any]] = {}
    nodes: list[NodeProto] = []
    current = layer.data

    def put(op: str, *inputs: str, **attributes: Any) -> None:
        nonlocal current
        nodes.append(helper.make_node(op, [current, *inputs], [f"{DOMAIN}.out{len(nodes)}"], **attributes))
        current = nodes[-1].output[0]

    if layer.op == "Conv":
        stored["w"] = np.ascontiguousarray(np.moveaxis(layer.rows, -1, 1))
        bias = {} if layer.bias is None else {"b": layer.bias}
        put("Conv", "w", *bias, **layer.geometry)
        stored |= bias
    else:
        stored["w"] = np.ascontiguousarray(layer.rows.T)
        put("MatMul", "w")
        if layer.bias is not None:
            stored["b"] = layer.bias
            put("Add", "b")
    if layer.residual:
        put("Add", layer.residual)
    if (layer.low, layer.high) == (0.0, math.inf):  # by its own name, which ONNX Runtime fuses
        put("Relu")
    elif math.isfinite(layer.low) or math.isfinite(layer.high):
        stored |= {"low": np.array(layer.low, np.float32), "high": np.array(layer.high, np.float32)}
        put("Clip", "low", "high")
    nodes[-1].output[0] = layer.output
    return nodes, stored

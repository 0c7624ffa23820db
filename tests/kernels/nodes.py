"""One operator as a model, and weights for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.storage.packing import pack

_FROM_BYTES = ("NmToFloats", "NmGlobalAveragePoolInt8")
_OF_BYTES = ("NmConvInt8", "NmPoolInt8", "NmUpsampleInt8")
Array = np.ndarray[Any, np.dtype[Any]]


def node_model(
    op: str,
    inputs: Sequence[str],
    stored: Mapping[str, Array],
    domain: str = "domino_onnx",
    opset: int = 17,
    **attributes: Any,
) -> bytes:
    """A model of one node. What isn't stored is an input of the model."""
    of_x = TensorProto.UINT8 if op in (*_FROM_BYTES, *_OF_BYTES) else TensorProto.FLOAT
    of_y = TensorProto.UINT8 if op in ("NmToBytes", "QuantizeLinear", *_OF_BYTES) else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], domain=domain, **attributes)],
        "g",
        [helper.make_tensor_value_info(name, of_x, None) for name in inputs if name and name not in stored],
        [helper.make_tensor_value_info("y", of_y, None)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("domino_onnx", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def open_model(model: bytes, library: str, threads: int = 1) -> Any:
    """A session with the operators registered."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(library)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_node(library: str, model: bytes, inputs: Mapping[str, Array]) -> Array:
    """The output of a model of one node."""
    output: Array = open_model(model, library).run(None, dict(inputs))[0]
    return output


def sparse(generator: np.random.Generator, shape: tuple[int, ...], n: int, m: int) -> Array:
    """Float32 weights with n of every m along the last axis not zero."""
    kept = generator.random((np.prod(shape, dtype=int) // m, m)).argsort(axis=1) < n
    return np.where(kept, generator.normal(size=kept.shape), 0).astype(np.float32).reshape(shape)


def sparse_integers(generator: np.random.Generator, shape: tuple[int, ...], n: int, m: int) -> Array:
    """The same in int8, with the extremes among them."""
    return np.clip(np.rint(sparse(generator, shape, n, m) * 90), -128, 127).astype(np.int8)


def stored_weight(rows: Array) -> tuple[dict[str, Array], dict[str, int]]:
    """Inputs and attributes by which an operator knows a weight whose groups run along its last axis."""
    packed = pack(rows, axis=-1)
    grouping = {"m": packed.grouping.m, "digits": packed.grouping.digits} if packed.grouping else {"m": 0}
    return {"values": packed.values, "codes": packed.codes}, grouping

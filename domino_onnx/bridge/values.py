"""Tensors between ONNX, numpy and torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch

from domino_onnx.errors import ModelError

__all__ = ["ELEMENT_TYPES", "Load", "dense_tensor", "element_type", "is_weight", "tensor_of", "to_tensor"]

Array = np.ndarray[Any, np.dtype[Any]]
Load = Callable[[onnx.TensorProto], Array]
_T = onnx.TensorProto

#: The torch dtype of each ONNX element type that has one.
ELEMENT_TYPES: Mapping[int, torch.dtype] = MappingProxyType(
    {
        _T.FLOAT: torch.float32,
        _T.UINT8: torch.uint8,
        _T.INT8: torch.int8,
        _T.UINT16: torch.uint16,
        _T.INT16: torch.int16,
        _T.INT32: torch.int32,
        _T.INT64: torch.int64,
        _T.BOOL: torch.bool,
        _T.FLOAT16: torch.float16,
        _T.DOUBLE: torch.float64,
        _T.UINT32: torch.uint32,
        _T.UINT64: torch.uint64,
        _T.COMPLEX64: torch.complex64,
        _T.COMPLEX128: torch.complex128,
        _T.BFLOAT16: torch.bfloat16,
        _T.FLOAT8E4M3FN: torch.float8_e4m3fn,
        _T.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
        _T.FLOAT8E5M2: torch.float8_e5m2,
        _T.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    }
)

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_STEPS = frozenset({torch.int8, torch.int16})

_REINTERPRETED: Mapping[str, tuple[type[np.generic], torch.dtype]] = MappingProxyType(
    {
        "bfloat16": (np.int16, torch.bfloat16),
        "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
        "float8_e4m3fnuz": (np.uint8, torch.float8_e4m3fnuz),
        "float8_e5m2": (np.uint8, torch.float8_e5m2),
        "float8_e5m2fnuz": (np.uint8, torch.float8_e5m2fnuz),
    }
)
# Tensors of less than a byte an element are stored data (behind a DequantizeLinear), nothing to compute with.
_WIDENED: Mapping[str, type[np.generic]] = MappingProxyType(
    {"int2": np.int8, "int4": np.int8, "uint2": np.uint8, "uint4": np.uint8, "float4_e2m1fn": np.float32}
)


def element_type(code: int) -> torch.dtype:
    """Return the torch dtype of an ONNX element type; :class:`ModelError` where torch has none (strings)."""
    dtype = ELEMENT_TYPES.get(code)
    if dtype is None:
        known = code in _T.DataType.values()
        raise ModelError(f"element type {_T.DataType.Name(code) if known else code} has no torch counterpart")
    return dtype


def to_tensor(array: Array) -> torch.Tensor:
    """Copy a numpy array, of an `ml_dtypes` type too, into a CPU tensor of the same shape."""
    own = np.array(array, order="C", copy=True)
    if own.dtype.name in _REINTERPRETED:
        bits, dtype = _REINTERPRETED[own.dtype.name]
        return torch.from_numpy(own.view(bits)).view(dtype)
    if own.dtype.name in _WIDENED:
        own = own.astype(_WIDENED[own.dtype.name])
    if own.dtype.kind not in "biufc":
        raise ModelError(f"a tensor of type {own.dtype} has no torch counterpart")
    return torch.from_numpy(own)


def is_weight(tensor: torch.Tensor) -> bool:
    """Whether a stored tensor's values may be replaced: floats, and integers that DequantizeLinear may read."""
    return tensor.dtype in _FLOATS or (tensor.dtype in _STEPS and tensor.dim() > 1)


def tensor_of(proto: onnx.TensorProto, load: Load) -> torch.Tensor:
    """Load a TensorProto as a CPU tensor; :class:`ModelError` names the tensor that torch can't hold."""
    try:
        tensor = to_tensor(load(proto))
        return tensor.to(ELEMENT_TYPES.get(proto.data_type, tensor.dtype))
    except ModelError as error:
        raise ModelError(f"tensor {proto.name!r}: {error}") from error


def dense_tensor(sparse: onnx.SparseTensorProto, load: Load) -> torch.Tensor:
    """Expand a SparseTensorProto, whose indices are flat positions (NNZ,) or coordinates (NNZ, rank)."""
    values = tensor_of(sparse.values, load)
    indices = tensor_of(sparse.indices, load).to(torch.int64)
    shape = tuple(sparse.dims)
    if indices.dim() == 2:
        strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
        indices = (indices * torch.tensor(strides, dtype=torch.int64)).sum(dim=1)
    try:
        flat = torch.zeros(int(np.prod(shape, dtype=np.int64)), dtype=values.dtype)
        return flat.index_copy(0, indices, values).reshape(shape)
    except (RuntimeError, IndexError) as error:
        raise ModelError(f"sparse tensor {sparse.values.name!r} of shape {shape} is malformed: {error}") from error

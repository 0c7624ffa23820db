"""What are the values of a TensorProto, and how does it get other ones?"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.graph.io.external import is_external, read_range, resolve

__all__ = ["FLOAT_TYPES", "INTEGER_TYPES", "dtype_name", "read_tensor", "store_reshaped", "store_values"]

FLOAT_TYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
INTEGER_TYPES: dict[int, str] = {TensorProto.INT8: "int8", TensorProto.INT16: "int16"}
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def dtype_name(tensor: TensorProto) -> str:
    """``"float32"``, ``"int8"``, ..., as users write it."""
    return FLOAT_TYPES.get(tensor.data_type) or str(TensorProto.DataType.Name(tensor.data_type)).lower()


def read_tensor(tensor: TensorProto, folder: Path) -> NDArray[np.generic]:
    """The values of a tensor, in its dtype (bfloat16 from ml_dtypes) and shape; treat them as read-only.

    Raises
    ------
    ModelError
        If the data don't fit the shape, are in two fields at once, or at an unsafe place.
    """
    if is_external(tensor):
        return read_range(tensor, resolve(tensor, folder))
    filled = [field for field in _TYPED_FIELDS if len(getattr(tensor, field))]
    if tensor.HasField("raw_data") and filled:
        raise ModelError(f"tensor {tensor.name!r} holds values in raw_data and in {filled[0]} at once")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"tensor {tensor.name!r}: its data don't fit its shape {tuple(tensor.dims)}: {error}"
        ) from None


def store_reshaped(tensor: TensorProto, values: NDArray[np.generic]) -> None:
    """Give a tensor values of another shape, inline, in the field that it had them in.

    One that was external keeps its entries, as the mark that `was_external` sees.
    """
    tensor.dims[:] = values.shape
    if is_external(tensor):
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = b""
    store_values(tensor, values)


def store_values(tensor: TensorProto, values: NDArray[np.generic]) -> None:
    """Replace the values of an inline tensor, leaving its name, type, dims and the choice of field as they are.

    `values` must have the tensor's dtype and shape.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if tensor.HasField("raw_data"):
        tensor.raw_data = flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()
    elif flat.dtype == np.float32:
        tensor.float_data[:] = flat.tolist()
    elif flat.dtype == np.float64:
        tensor.double_data[:] = flat.tolist()
    elif flat.dtype in (np.float16, ml_dtypes.bfloat16):
        tensor.int32_data[:] = flat.view(np.uint16).tolist()
    elif flat.dtype in (np.int8, np.uint8, np.int16):
        tensor.int32_data[:] = flat.tolist()
    else:
        raise ModelError(f"tensor {tensor.name!r}: {flat.dtype} values can't be written")

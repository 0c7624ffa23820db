"""Is a written file what its report says? Counted from the files alone, sharing no code with the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["check", "share_of_zeros"]

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OURS = "domino_onnx."


def check(source: Path, written: Path, sites: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What of the written file doesn't hold: groups, zeros, and what else differs from the source."""
    dense, sparse = onnx.load(source), onnx.load(written)
    onnx.checker.check_model(sparse, full_check=True)
    schemes = {site["weight"]: (site["n"], site["m"]) for site in sites}
    tensors = _tensors(sparse)
    readers = _readers(sparse)
    unread = sorted(name for name in schemes if name not in readers or name not in tensors)
    broken = sorted(
        name
        for name, (n, m) in schemes.items()
        if name not in unread and not _obeys(onnx.numpy_helper.to_array(tensors[name]), readers[name], n, m)
    )
    named = {entry["name"] for entry in _manifest(sparse).get("also_changed", ())}
    zeros = share_of_zeros(sparse)
    _blank(dense, schemes.keys() | named)
    _blank(sparse, schemes.keys() | named)
    return {
        "broken_weights": broken,
        "unread_weights": unread,
        "zeros": round(zeros, 6),
        "also_changed": len(named),
        "rest_identical": dense.SerializeToString() == sparse.SerializeToString(),
    }


def share_of_zeros(model: onnx.ModelProto) -> float:
    """Zeros over all stored weights of Conv, ConvTranspose, Gemm and MatMul."""
    tensors = _tensors(model)
    values = [onnx.numpy_helper.to_array(tensors[name]) for name in sorted(_readers(model).keys() & tensors.keys())]
    counted = [value for value in values if value.dtype.kind == "f" and value.ndim > 1]
    return sum(int((value == 0).sum()) for value in counted) / sum(value.size for value in counted)


def _manifest(model: onnx.ModelProto) -> dict[str, Any]:
    texts = [entry.value for entry in model.metadata_props if entry.key == _OURS + "manifest"]
    return dict(json.loads(texts[0])) if texts else {}


def _tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Stored tensors by the name under which nodes read them: initializers, and Constant nodes' values."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found |= {output: node.attribute[0].t for output in node.output if node.attribute[0].name == "value"}
    return found


def _readers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that multiplies by each tensor."""
    nodes = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    first = {node.input[0]: node for node in nodes if node.op_type in ("Gemm", "MatMul")}
    return first | {node.input[1]: node for node in nodes}


def _obeys(weight: NDArray[Any], node: onnx.NodeProto, n: int, m: int) -> bool:
    """Every group of M along the axis that is summed over, counted one by one."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    if node.op_type == "Conv" or (node.op_type == "Gemm" and transposed):
        axis = 1
    elif node.op_type == "ConvTranspose":
        axis = 0
    else:
        axis = weight.ndim - 2
    rows = np.moveaxis(weight, axis, -1).reshape(-1, weight.shape[axis])
    whole = rows.shape[1] % m == 0
    return whole and all(
        np.count_nonzero(rows[:, start : start + m], axis=1).max() <= n for start in range(0, rows.shape[1], m)
    )


def _blank(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Forget the values that may differ, and the package's own metadata."""
    tensors = _tensors(model)
    for name in names:
        if name in tensors:
            tensors[name].ClearField("raw_data")
            tensors[name].ClearField("float_data")
    for holder in (model, *model.graph.node):
        kept = [entry for entry in holder.metadata_props if not entry.key.startswith(_OURS)]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)

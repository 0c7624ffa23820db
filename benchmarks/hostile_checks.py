"""Is a written file what it should be? Counted from the files alone, by plain loops, without the package's code."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["Key", "differences", "obeys", "pruned_weights", "stored"]

_OURS = "domino_onnx."
Key = tuple[tuple[str, ...], str]
"""Scope and name, as a manifest writes them."""


def pruned_weights(written: onnx.ModelProto) -> dict[Key, dict[str, Any]]:
    """The weights that a file's manifest says were pruned."""
    return {(tuple(entry.get("scope", ())), entry["name"]): entry for entry in _manifest(written).get("weights", ())}


def differences(before: onnx.ModelProto, after: onnx.ModelProto, source: Path, written: Path) -> list[str]:
    """What is wrong with the pruned weights of a file, and what else of it isn't as in the file that was read.

    Sparse tensors are written dense, by design: then only the weights are looked at.
    """
    wrong = []
    old, new, pruned = dict(stored(before)), dict(stored(after)), pruned_weights(after)
    for key, entry in pruned.items():
        if key not in old or key not in new:
            wrong.append(f"{key} is in the manifest, and not in both files")
            continue
        was, now = (
            numpy_helper.to_array(tensors[key], str(path.parent)) for tensors, path in ((old, source), (new, written))
        )
        if not obeys(now, entry):
            wrong.append(f"{key} doesn't obey its scheme")
        if now.dtype.kind == "f" and np.isfinite(was).all() and not np.isfinite(now).all():
            wrong.append(f"{key} isn't finite any more")
    more = {(tuple(entry.get("scope", ())), entry["name"]) for entry in _manifest(after).get("also_changed", ())}
    if not _holds_sparse(before) and _blanked(before, pruned.keys() | more) != _blanked(after, pruned.keys() | more):
        wrong.append("something besides the weights differs")
    return wrong


def obeys(values: NDArray[Any], entry: Mapping[str, Any]) -> bool:
    """Whether each M weights in a row along the axis keep N at most."""
    rows = np.moveaxis(values, entry["axis"], -1)
    if rows.shape[-1] % (entry["m"] * entry.get("conv_groups", 1)):
        return False
    return bool(((rows.reshape(-1, entry["m"]) != 0).sum(axis=1) <= entry["n"]).all())


def _manifest(model: onnx.ModelProto) -> dict[str, Any]:
    texts = [entry.value for entry in model.metadata_props if entry.key == _OURS + "manifest"]
    return dict(json.loads(texts[0])) if texts else {}


def stored(model: onnx.ModelProto) -> Iterator[tuple[Key, onnx.TensorProto]]:
    """Initializers and values of Constant nodes, wherever they are."""
    yield from _of_graph(model.graph, ())
    for function in model.functions:
        name = f"function {function.domain}:{function.name}:{function.overload}"
        yield from _of_nodes(function.node, (name,))


def _of_graph(graph: onnx.GraphProto, scope: tuple[str, ...]) -> Iterator[tuple[Key, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield (scope, tensor.name), tensor
    for sparse in graph.sparse_initializer:
        yield (scope, sparse.values.name), _dense(sparse)
    yield from _of_nodes(graph.node, scope)


def _of_nodes(nodes: Sequence[onnx.NodeProto], scope: tuple[str, ...]) -> Iterator[tuple[Key, onnx.TensorProto]]:
    for index, node in enumerate(nodes):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and node.output:
                yield (scope, node.output[0]), attribute.t
            if node.op_type == "Constant" and attribute.name == "sparse_value" and node.output:
                yield (scope, node.output[0]), _dense(attribute.sparse_tensor)
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _of_graph(attribute.g, (*scope, f"{index}.{attribute.name}"))


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    values, places = (numpy_helper.to_array(part) for part in (sparse.values, sparse.indices))
    dense = np.zeros(sparse.dims, values.dtype)
    if places.ndim == 1:
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return numpy_helper.from_array(dense, sparse.values.name)


def _holds_sparse(model: onnx.ModelProto) -> bool:
    return bool(model.graph.sparse_initializer) or any(
        attribute.name == "sparse_value" for node in _nodes(model) for attribute in node.attribute
    )


def _blanked(model: onnx.ModelProto, keys: Collection[Key]) -> bytes:
    """The model's bytes without the values of these weights, without places in data files, and without our metadata."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for key, tensor in stored(copy):
        if key in keys or tensor.data_location == onnx.TensorProto.EXTERNAL:
            name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(dims)
    for holder in (copy, *_nodes(copy)):
        kept = [entry for entry in holder.metadata_props if not entry.key.startswith(_OURS)]
        if len(kept) < len(holder.metadata_props):
            del holder.metadata_props[:]
            holder.metadata_props.extend(kept)
    return bytes(copy.SerializeToString(deterministic=True))


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    stack = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while stack:
        node = stack.pop()
        yield node
        stack += [inner for attribute in node.attribute for inner in attribute.g.node]

"""Shapes of a model's tensors, inferred in a child process that a hostile file may crash or stall.

`onnx.shape_inference` is native code: a 92-byte file ends the process that calls it. The child gets a skeleton of the
model without its large tensors, so that it is quick and small whatever the model weighs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from domino_onnx.errors import DataError
from domino_onnx.graph.walk import subgraphs

__all__ = ["Shape", "ShapeTable", "infer_shapes", "infer_types", "model_inputs"]

Shape = tuple[int | None, ...]
ShapeTable = Mapping[tuple[tuple[str, ...], str], Shape]
"""Scope and name of a tensor to its shape; None stands for an axis that is not known."""

_SMALL = 4096
_SECONDS = 30
_MEMORY = 4 << 30
_CHILD = f"""
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
from onnx import ModelProto, shape_inference
model = ModelProto.FromString(sys.stdin.buffer.read())
sys.stdout.buffer.write(shape_inference.infer_shapes(model, data_prop=True).SerializeToString())
"""


def model_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The graph inputs that a caller must give: those without an initializer of the same name."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def infer_shapes(model: ModelProto, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> ShapeTable:
    """Shapes of all tensors in the main graph and its subgraphs, as far as they can be known.

    Parameters
    ----------
    input_shapes
        Shapes of inputs, over what the model declares. An unknown first axis is taken to be 1.

    Returns
    -------
    What inference found; empty if it failed on this model, which is no error: only MACs depend on it.

    Raises
    ------
    DataError
        If an input shape names no input, or contradicts a fixed axis.
    """
    skeleton = _skeleton(model)
    _set_input_shapes(skeleton, dict(input_shapes or {}))
    inferred = _inferred(skeleton)
    return {} if inferred is None else dict(_table(inferred.graph, ()))


def infer_types(model: ModelProto) -> list[ValueInfoProto]:
    """Element types of the main graph's inner tensors, and behind them of its outputs, as far as they can be known."""
    inferred = _inferred(_skeleton(model))
    return [] if inferred is None else [*inferred.graph.value_info, *inferred.graph.output]


def _inferred(skeleton: ModelProto) -> ModelProto | None:
    """The skeleton with what inference found; None if it failed."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=skeleton.SerializeToString(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        inferred: ModelProto = ModelProto.FromString(child.stdout)
    except (subprocess.SubprocessError, OSError, DecodeError, ValueError):
        return None
    return inferred


def _set_input_shapes(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> None:
    symbols: dict[str, int] = {}
    for value in model_inputs(model):
        tensor = value.type.tensor_type
        given = shapes.pop(value.name, None)
        if given is not None:
            _check_given(value, given)
            declared = list(tensor.shape.dim) if tensor.HasField("shape") else []
            symbols.update((old.dim_param, new) for old, new in zip(declared, given, strict=False) if old.dim_param)
            del tensor.shape.dim[:]
            for size in given:
                tensor.shape.dim.add().dim_value = size
        elif tensor.HasField("shape") and tensor.shape.dim and tensor.shape.dim[0].dim_value < 1:
            tensor.shape.dim[0].dim_value = symbols.setdefault(tensor.shape.dim[0].dim_param or value.name, 1)
    if shapes:
        known = ", ".join(value.name for value in model_inputs(model)) or "none"
        raise DataError(
            f"the input shapes name {next(iter(shapes))!r}, which is no input of the model; inputs: {known}"
        )


def _check_given(value: ValueInfoProto, given: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return
    fixed = [axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim]
    if len(fixed) != len(given) or any(old not in (None, new) for old, new in zip(fixed, given, strict=True)):
        shown = ",".join(str(size or axis.dim_param or "?") for size, axis in zip(fixed, tensor.shape.dim, strict=True))
        raise DataError(f"input {value.name!r} has the shape {shown}; {','.join(map(str, given))} doesn't fit")


def _table(graph: GraphProto, path: tuple[str, ...]) -> Iterator[tuple[tuple[tuple[str, ...], str], Shape]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            axes = value.type.tensor_type.shape.dim
            yield (path, value.name), tuple(axis.dim_value if axis.dim_value > 0 else None for axis in axes)
    for index, node in enumerate(graph.node):
        for attribute, inner in subgraphs(node):
            yield from _table(inner, (*path, f"{index}.{attribute}"))


def _skeleton(model: ModelProto) -> ModelProto:
    """The model without the values of large tensors and without anything that shape inference doesn't read."""
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.graph.CopyFrom(_skeleton_graph(model.graph))
    for function in model.functions:
        copy = bare.functions.add()
        copy.name, copy.domain = function.name, function.domain
        copy.input.extend(function.input)
        copy.output.extend(function.output)
        copy.attribute.extend(function.attribute)
        copy.attribute_proto.extend(function.attribute_proto)
        copy.opset_import.extend(function.opset_import)
        copy.node.extend(_skeleton_nodes(function.node))
    return bare


def _skeleton_graph(graph: GraphProto) -> GraphProto:
    bare = GraphProto(name=graph.name or "graph")
    bare.node.extend(_skeleton_nodes(graph.node))
    bare.initializer.extend(_skeleton_tensor(tensor) for tensor in graph.initializer)
    bare.input.extend(graph.input)
    bare.output.extend(graph.output)
    return bare


def _skeleton_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        bare = NodeProto(name=node.name, op_type=node.op_type, domain=node.domain)
        bare.input.extend(node.input)
        bare.output.extend(node.output)
        bare.attribute.extend(_skeleton_attribute(attribute) for attribute in node.attribute)
        yield bare


def _skeleton_attribute(attribute: AttributeProto) -> AttributeProto:
    if attribute.type == AttributeProto.TENSOR:
        return AttributeProto(name=attribute.name, type=attribute.type, t=_skeleton_tensor(attribute.t))
    if attribute.type == AttributeProto.GRAPH:
        return AttributeProto(name=attribute.name, type=attribute.type, g=_skeleton_graph(attribute.g))
    return attribute


def _skeleton_tensor(tensor: TensorProto) -> TensorProto:
    if tensor.ByteSize() <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)

"""Which shapes do a model's tensors have? They are inferred in a child process that a hostile file may crash or stall.

`onnx.shape_inference` is native code: a 92-byte file ends the process that calls it. The child gets a skeleton of the
model without its large tensors, so that it is quick and small for every model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorShapeProto, ValueInfoProto

from domino_onnx.errors import DataError
from domino_onnx.graph.inference import inferred
from domino_onnx.graph.skeleton import skeleton
from domino_onnx.graph.symbols import declared_axes, sizes_of_names
from domino_onnx.graph.walk import subgraphs

__all__ = ["Shape", "ShapeTable", "check_input_shapes", "infer_shapes", "infer_types", "model_inputs"]

Shape = tuple[int | None, ...]
ShapeTable = Mapping[tuple[tuple[str, ...], str], Shape]
"""Scope and name of a tensor to its shape; None for an axis that is not known."""


def model_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The graph inputs that a caller must give: those without an initializer of the same name."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def infer_shapes(model: ModelProto, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> ShapeTable:
    """Shapes of all tensors in the main graph and its subgraphs, as far as they can be known.

    Parameters
    ----------
    input_shapes
        Shapes of inputs, over what the model declares. An axis of a name that they tell has its
        size in other inputs too. Other unknown first axes are taken to be 1.

    Returns
    -------
    What inference found; empty if it failed on this model, which is no error: only MACs depend on it.

    Raises
    ------
    DataError
        If an input shape names no input, or contradicts a fixed axis.
    ProcessError
        If the child process can't be started, or the system killed it. It limits its own memory, so that the model
        isn't the reason.
    """
    bare = skeleton(model)
    _set_input_shapes(bare, input_shapes or {})
    return dict(_table(_inferred(bare).graph, ()))


def infer_types(model: ModelProto) -> list[ValueInfoProto]:
    """Element types of the main graph's inner tensors, and behind them of its outputs, as far as they can be known."""
    graph = _inferred(skeleton(model)).graph
    return [*graph.value_info, *graph.output]


def _inferred(bare: ModelProto) -> ModelProto:
    """The skeleton with what inference found; empty if it failed."""
    try:
        found: ModelProto = ModelProto.FromString(inferred(bare.SerializeToString()))
    except (DecodeError, ValueError):
        return ModelProto()
    return found


def check_input_shapes(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse shapes that no input can have.

    Raises
    ------
    DataError
        If one names no input, or contradicts a fixed axis.
    """
    inputs = {value.name: value for value in model_inputs(model)}
    for name, given in shapes.items():
        if name not in inputs:
            known = ", ".join(map(repr, inputs)) or "none"
            raise DataError(f"--input-shape names {name!r}; the model's inputs are {known}")
        _check_given(inputs[name], given)


def _set_input_shapes(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    check_input_shapes(model, shapes)
    declared = {value.name: declared_axes(value) for value in model_inputs(model)}
    told = sizes_of_names(declared, shapes)
    for value in model_inputs(model):
        tensor = value.type.tensor_type
        if value.name in shapes:
            del tensor.shape.dim[:]
            tensor.shape.dim.extend(TensorShapeProto.Dimension(dim_value=size) for size in shapes[value.name])
        else:
            _set_named(value, told)
            first, *_ = declared[value.name] or (0,)
            if first is None or (isinstance(first, str) and first not in told):
                tensor.shape.dim[0].dim_value = 1
                told |= {first: 1} if isinstance(first, str) else {}
    for value in model.graph.value_info:
        _set_named(value, told)


def _set_named(value: ValueInfoProto, told: Mapping[str, int]) -> None:
    """Give the axes of these names their sizes."""
    for axis, name in zip(value.type.tensor_type.shape.dim, declared_axes(value) or (), strict=True):
        if isinstance(name, str) and name in told:
            axis.dim_value = told[name]


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

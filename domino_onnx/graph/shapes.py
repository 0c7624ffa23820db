"""Which shapes do a model's tensors have? They are inferred in a child process that a hostile file may crash or stall.

`onnx.shape_inference` is native code: a 92-byte file ends the process that calls it. The child gets a skeleton of the
model without its large tensors, so that it is quick and small for every model.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TypeProto, ValueInfoProto

from domino_onnx.errors import DataError, ProcessError
from domino_onnx.graph.skeleton import skeleton
from domino_onnx.graph.walk import subgraphs

__all__ = ["Shape", "ShapeTable", "infer_shapes", "infer_types", "model_inputs"]

Shape = tuple[int | None, ...]
ShapeTable = Mapping[tuple[tuple[str, ...], str], Shape]
"""Scope and name of a tensor to its shape; None for an axis that is not known."""

_SECONDS = 30
_MEMORY = 4 << 30
_KILLED = getattr(signal, "SIGKILL", 9)
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
    ProcessError
        If the system killed the child process. It limits its own memory, so that the model isn't the reason.
    """
    bare = skeleton(model)
    _set_input_shapes(bare, dict(input_shapes or {}))
    inferred = _inferred(bare)
    return {} if inferred is None else dict(_table(inferred.graph, ()))


def infer_types(model: ModelProto) -> list[ValueInfoProto]:
    """Element types of the main graph's inner tensors, and behind them of its outputs, as far as they can be known."""
    inferred = _inferred(skeleton(model))
    return [] if inferred is None else [*inferred.graph.value_info, *inferred.graph.output]


def _inferred(bare: ModelProto) -> ModelProto | None:
    """The skeleton with what inference found; None if it failed."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=bare.SerializeToString(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        inferred: ModelProto = ModelProto.FromString(child.stdout)
    except subprocess.CalledProcessError as error:
        if error.returncode == -_KILLED:
            raise ProcessError(
                "the process that infers shapes was killed, most likely because the machine's memory ran out: end "
                "other programs, and run again"
            ) from None
        return None
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
            _set_shape(tensor, given, symbols)
        elif tensor.HasField("shape") and tensor.shape.dim and tensor.shape.dim[0].dim_value < 1:
            tensor.shape.dim[0].dim_value = symbols.setdefault(tensor.shape.dim[0].dim_param or value.name, 1)
    if shapes:
        known = ", ".join(value.name for value in model_inputs(model)) or "none"
        raise DataError(
            f"the input shapes name {next(iter(shapes))!r}, which is no input of the model; inputs: {known}"
        )


def _set_shape(tensor: TypeProto.Tensor, given: tuple[int, ...], symbols: dict[str, int]) -> None:
    """Give an input its shape, and note what its symbolic axes are then."""
    declared = list(tensor.shape.dim) if tensor.HasField("shape") else []
    symbols.update((old.dim_param, new) for old, new in zip(declared, given, strict=False) if old.dim_param)
    del tensor.shape.dim[:]
    for size in given:
        tensor.shape.dim.add().dim_value = size


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

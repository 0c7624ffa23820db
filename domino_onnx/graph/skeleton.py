"""What is left of a model without the values of its large tensors? What shape inference reads, in a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from domino_onnx.graph.walk import normal_domain

__all__ = ["skeleton"]

_SMALL = 4096
"""Bytes of a tensor up to which its values stay: they can be shapes."""


def skeleton(model: ModelProto) -> ModelProto:
    """The model without the values of large tensors and without anything that shape inference doesn't read.

    Of what the file says of inner tensors, that stays which no rule of inference can tell.
    """
    bare = ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.graph.CopyFrom(_graph(model.graph))
    for function in model.functions:
        copy = bare.functions.add()
        copy.name, copy.domain, copy.overload = function.name, function.domain, function.overload
        copy.input.extend(function.input)
        copy.output.extend(function.output)
        copy.attribute.extend(function.attribute)
        copy.attribute_proto.extend(function.attribute_proto)
        copy.opset_import.extend(function.opset_import)
        copy.node.extend(_nodes(function.node))
    return bare


def _graph(graph: GraphProto) -> GraphProto:
    bare = GraphProto(name=graph.name or "graph")
    bare.node.extend(_nodes(graph.node))
    bare.initializer.extend(_tensor(tensor) for tensor in graph.initializer)
    bare.input.extend(graph.input)
    bare.output.extend(graph.output)
    untold = {name for node in graph.node if not _has_rule(node) for name in node.output}
    bare.value_info.extend(value for value in graph.value_info if value.name in untold)
    return bare


def _has_rule(node: NodeProto) -> bool:
    return bool(onnx.defs.has(node.op_type, normal_domain(node.domain)))


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        bare = NodeProto(name=node.name, op_type=node.op_type, domain=node.domain, overload=node.overload)
        bare.input.extend(node.input)
        bare.output.extend(node.output)
        bare.attribute.extend(_attribute(attribute) for attribute in node.attribute)
        yield bare


def _attribute(attribute: AttributeProto) -> AttributeProto:
    if attribute.type == AttributeProto.TENSOR:
        return AttributeProto(name=attribute.name, type=attribute.type, t=_tensor(attribute.t))
    if attribute.type == AttributeProto.GRAPH:
        return AttributeProto(name=attribute.name, type=attribute.type, g=_graph(attribute.g))
    return attribute


def _tensor(tensor: TensorProto) -> TensorProto:
    if tensor.ByteSize() <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)

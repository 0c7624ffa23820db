"""Which graphs, nodes and tensors does a model hold, wherever they are nested?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

__all__ = ["constant_tensor", "nodes", "normal_domain", "sparse_constants", "subgraphs", "tensors"]


def normal_domain(domain: str) -> str:
    """The standard operator set's domain has two spellings, ``""`` and ``"ai.onnx"``."""
    return "" if domain == "ai.onnx" else domain


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs that a node's attributes hold, by attribute name (`body`, `then_branch`, ...)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        for position, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}.{position}", graph


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """The tensor in a Constant node's `value`; None for other nodes, without an output, and for other attributes."""
    if node.op_type != "Constant" or normal_domain(node.domain) or not node.output:
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == AttributeProto.TENSOR and not attribute.ref_attr_name:
            tensor: TensorProto = attribute.t
            return tensor
    return None


def sparse_constants(node: NodeProto) -> Iterator[SparseTensorProto]:
    """The sparse tensor in a Constant node's `sparse_value`, if it has one and an output."""
    if node.op_type == "Constant" and not normal_domain(node.domain) and node.output:
        for attribute in node.attribute:
            if attribute.name == "sparse_value" and attribute.type == AttributeProto.SPARSE_TENSOR:
                yield attribute.sparse_tensor


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node in the file: in all graphs and functions."""
    yield from _nested(model.graph.node)
    for function in model.functions:
        yield from _nested(function.node)


def _nested(level: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in level:
        yield node
        for _, graph in subgraphs(node):
            yield from _nested(graph.node)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every dense tensor in the file: initializers, attributes, parts of sparse ones; in all graphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                continue  # the caller of a local function gives it
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.SPARSE_TENSOR:
                yield from _of_sparse([attribute.sparse_tensor])
            yield from attribute.tensors
            yield from _of_sparse(attribute.sparse_tensors)
        for _, graph in subgraphs(node):
            yield from _of_graph(graph)


def _of_sparse(sparse: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices

"""Tensors that share a name in two branches of an If, and a converter that knows one table of names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from onnx import GraphProto, ModelProto

from domino_onnx.graph.insertion import names_in_use
from domino_onnx.graph.walk import subgraphs

__all__ = ["distinct_tensors"]


@contextlib.contextmanager
def distinct_tensors(model: ModelProto) -> Iterator[None]:
    """Give each initializer a name that no other has, and its own name back at the end. Edits `model`."""
    taken = names_in_use(model)
    seen: set[str] = set()
    renamed: list[tuple[GraphProto, str, str]] = []
    for graph in _graphs(model.graph):
        for name in [tensor.name for tensor in graph.initializer]:
            if name in seen:
                other = next(free for number in range(len(taken) + 1) if (free := f"{name}__{number}") not in taken)
                taken.add(other)
                _rename(graph, name, other)
                renamed.append((graph, other, name))
            seen.add(name)
    yield
    for graph, other, name in renamed:
        _rename(graph, other, name)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from _graphs(inner)


def _rename(graph: GraphProto, name: str, other: str) -> None:
    """Rename a tensor of a graph wherever it is read from there."""
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.name = other
    for value in (*graph.output, *graph.value_info):
        if value.name == name:
            value.name = other
    for node in graph.node:
        for position, read in enumerate(node.input):
            if read == name:
                node.input[position] = other
        for _, inner in subgraphs(node):
            if not _defines(inner, name):
                _rename(inner, name, other)


def _defines(graph: GraphProto, name: str) -> bool:
    values = (*graph.input, *graph.initializer)
    return any(value.name == name for value in values) or any(name in node.output for node in graph.node)

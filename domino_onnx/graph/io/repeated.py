"""What does a file say twice, where ONNX Runtime goes by the first? The second is left out when the file is read."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto

from domino_onnx.graph.walk import normal_domain, subgraphs

__all__ = ["drop_repeated"]


def drop_repeated(model: ModelProto) -> tuple[str, ...]:
    """Leave out imports and Constant nodes that change nothing; edits `model`.

    Returns
    -------
    A note for each, to be shown to the user.
    """
    return (*_imports(model), *_constants(model.graph))


def _imports(model: ModelProto) -> Iterator[str]:
    """An operator set is imported twice in one version by some converters."""
    seen: set[tuple[str, int]] = set()
    repeated: list[int] = []
    for position, opset in enumerate(model.opset_import):
        imported = normal_domain(opset.domain), opset.version
        if imported in seen:
            repeated.append(position)
            name = imported[0] or "the standard operator set"
            yield f"the file imports {name} twice in version {opset.version}: the second import is left out"
        seen.add(imported)
    for position in reversed(repeated):
        del model.opset_import[position]


def _constants(graph: GraphProto) -> Iterator[str]:
    """ONNX Runtime lets an initializer win over a Constant node of its name, and the first of two Constant nodes."""
    stored = {tensor.name for tensor in graph.initializer}
    stored.update(tensor.values.name for tensor in graph.sparse_initializer)
    unread: list[int] = []
    for position, node in enumerate(graph.node):
        for _, inner in subgraphs(node):
            yield from _constants(inner)
        if node.op_type != "Constant" or normal_domain(node.domain) or len(node.output) != 1 or not node.output[0]:
            continue
        if node.output[0] in stored:
            unread.append(position)
            yield f"the constant {node.output[0]!r} is defined twice: the second, which is never read, is left out"
        stored.add(node.output[0])
    for position in reversed(unread):
        del graph.node[position]

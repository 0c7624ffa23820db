"""Nodes between convolutions on the file's own grids: they take and give the bytes that the channels come last in.

ONNX Runtime computes them in bytes wherever DequantizeLinear and QuantizeLinear are around them, in any layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domino_onnx.deployment.bridges import bridge_of, means_of_channels
from domino_onnx.deployment.grids import FileValue
from domino_onnx.deployment.layer import Shapes

__all__ = ["file_bridged"]

_FEWEST_AXES = 3


def file_bridged(
    nodes: Sequence[Any],
    file: Mapping[str, FileValue],
    shapes: Shapes,
    made: Mapping[str, int],
    read: Mapping[str, int],
) -> list[tuple[Any, int]]:
    """The nodes to compute in bytes with the channels last, and the rank of these, in order.

    Converting what isn't there in that form must not cost more than converting what is.

    Parameters
    ----------
    nodes
        In an order in which they can run.
    file
        Activations that the file holds in 8 bits.
    shapes
        Of activations, as far as they were seen in a run.
    made, read
        Ranks of the images that other nodes give, and take, as bytes with the channels last, by the names of the
        file's bytes.
    """
    candidates = [node for node in nodes if _can_bridge(node, file, shapes)]
    wanted, there = set(read), {**read, **made}
    wanted |= {file[node.inputs[0].name].integers for node in nodes if _is_mean_of(node, file)}
    for node in reversed(candidates):
        if file[node.outputs[0].name].integers in wanted:
            wanted |= {file[tensor.name].integers for tensor in node.inputs}
    found: list[tuple[Any, int]] = []
    for node in candidates:
        ranks = [there.get(file[tensor.name].integers) for tensor in node.inputs]
        known = [rank for rank in ranks if rank is not None]
        output = file[node.outputs[0].name].integers
        if output in wanted and 2 * len(known) >= len(ranks):
            there[output] = known[0]
            found.append((node, known[0]))
    return found


def _is_mean_of(node: Any, file: Mapping[str, FileValue]) -> bool:
    return means_of_channels(node) is not None and node.inputs[0].name in file


def _can_bridge(node: Any, file: Mapping[str, FileValue], shapes: Shapes) -> bool:
    if node.domain or len(node.outputs) != 1 or node.op not in ("Add", "Concat", "MaxPool", "AveragePool"):
        return False
    name = node.outputs[0].name
    if name not in file or file[name].source != name or any(each.name not in file for each in node.inputs):
        return False
    if node.op == "Add":
        ranks = [len(shapes.get(each.name, ())) for each in node.inputs]
        return ranks[0] == ranks[1] >= _FEWEST_AXES
    if node.op != "Concat" and file[node.inputs[0].name].grid != file[name].grid:
        return False
    return bridge_of(node) is not None

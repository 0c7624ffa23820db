"""Nodes between convolutions on the file's own grids: they take and give the bytes that the channels come last in.

ONNX Runtime computes them in bytes wherever DequantizeLinear and QuantizeLinear are around them, in any layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domino_onnx.deployment.bridges import Bridge, bridge_of, means_of_channels
from domino_onnx.deployment.grids import FileValue
from domino_onnx.deployment.layer import Shapes

__all__ = ["JOINING", "file_bridged"]

_FEWEST_AXES = 3
JOINING = ("Add", "Concat")
"""What may join bytes on several grids; other nodes keep the one that there is."""


def file_bridged(
    nodes: Sequence[Any],
    file: Mapping[str, FileValue],
    shapes: Shapes,
    made: Mapping[str, int],
    read: Mapping[str, int],
) -> list[tuple[Any, Bridge, int]]:
    """The nodes to compute in bytes with the channels last, how, and the rank of these, in order.

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
    candidates = [(node, bridge) for node in nodes if (bridge := _bridge(node, file, shapes)) is not None]
    wanted, there = set(read), {**read, **made}
    wanted |= {file[node.inputs[0].name].integers for node in nodes if _is_mean_of(node, file)}
    for node, bridge in reversed(candidates):
        if file[node.outputs[0].name].integers in wanted:
            wanted |= {file[tensor.name].integers for tensor in node.inputs[: bridge.data]}
    found: list[tuple[Any, Bridge, int]] = []
    for node, bridge in candidates:
        ranks = [there.get(file[tensor.name].integers) for tensor in node.inputs[: bridge.data]]
        known = [rank for rank in ranks if rank is not None]
        output = file[node.outputs[0].name].integers
        if output in wanted and 2 * len(known) >= len(ranks):
            there[output] = known[0]
            found.append((node, bridge, known[0]))
    return found


def _is_mean_of(node: Any, file: Mapping[str, FileValue]) -> bool:
    return means_of_channels(node) is not None and node.inputs[0].name in file


def _bridge(node: Any, file: Mapping[str, FileValue], shapes: Shapes) -> Bridge | None:
    """How a node between bytes of the file is computed in bytes; None for one that can't be."""
    bridge = bridge_of(node)
    if bridge is None or len(node.outputs) != 1:
        return None
    name, data = node.outputs[0].name, [tensor.name for tensor in node.inputs[: bridge.data]]
    if name not in file or file[name].source != name or any(each not in file for each in data):
        return None
    if node.op == "Add":
        ranks = [len(shapes.get(each, ())) for each in data]
        return bridge if ranks[0] == ranks[1] >= _FEWEST_AXES else None
    return bridge if node.op in JOINING or file[data[0]].grid == file[name].grid else None

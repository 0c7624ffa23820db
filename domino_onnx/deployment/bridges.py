"""Pooling and concatenation between convolutions in bytes: they take and give bytes as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.operators import DOMAIN
from domino_onnx.deployment.values import value_of
from domino_onnx.deployment.windows import windows_of

__all__ = ["Bridge", "bridge_of", "bridged", "means_of_channels", "with_shared_grids"]

_IMAGE_RANK = 4
_AXES_OF_IMAGES = ([2, 3], [-2, -1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A node of bytes with the channels last, in the place of one of floats."""

    op: str
    domain: str
    attributes: Mapping[str, Any]


def bridge_of(node: Any) -> Bridge | None:
    """How a node is computed in bytes on one grid for its inputs and its output; None for one that can't be."""
    if node.domain or len(node.outputs) != 1:
        return None
    if node.op == "Concat":
        known = node.attrs.get("axis") == 1 and all(value_of(each) is None for each in node.inputs)
        return Bridge(op="Concat", domain="", attributes={"axis": -1}) if known else None
    if node.op not in ("MaxPool", "AveragePool"):
        return None
    attrs, kernel = node.attrs, list(node.attrs.get("kernel_shape", ()))
    windows = windows_of(attrs, len(kernel))
    counts, whole = int(attrs.get("count_include_pad", 0)), int(attrs.get("ceil_mode", 0))
    if isinstance(windows, str) or (whole and counts):
        return None
    attributes = {
        "mode": "max" if node.op == "MaxPool" else "average",
        "kernel_shape": kernel,
        **windows,
        "count_include_pad": counts,
        "ceil_mode": whole,
    }
    return Bridge(op="NmPoolInt8", domain=DOMAIN, attributes=attributes)


def means_of_channels(node: Any, rank: int = _IMAGE_RANK) -> str | None:
    """Whether a node gives the mean of each channel of an image: its axes in space are "kept" as 1, or "dropped".

    Parameters
    ----------
    rank
        Of the image. ReduceMean is known for two axes in space alone.
    """
    if node.domain:
        return None
    if node.op == "GlobalAveragePool":
        return "kept"
    if node.op != "ReduceMean" or rank != _IMAGE_RANK:
        return None
    axes = node.attrs.get("axes") if len(node.inputs) == 1 else value_of(node.inputs[1])
    if axes is None or sorted(np.reshape(axes, -1).tolist()) not in _AXES_OF_IMAGES:
        return None
    return "kept" if node.attrs.get("keepdims", 1) else "dropped"


def with_shared_grids(graph: Any, grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """Grids of activations, with one for all that a node of bytes takes and gives: it holds what each of them holds."""
    together: dict[str, set[str]] = {}
    for node in graph.nodes:
        if bridge_of(node) is not None:
            names = {tensor.name for tensor in (*node.inputs, *node.outputs)}
            joined = names.union(*(together.get(name, set()) for name in names))
            together |= dict.fromkeys(joined, joined)
    shared = dict(grids)
    for name, names in together.items():
        known = {grids[each] for each in names if each in grids}
        if known:
            shared[name] = _hull(known)
    return shared


def bridged(nodes: Sequence[Any], made: Collection[str], read: Collection[str]) -> list[tuple[Any, Bridge]]:
    """The nodes that lie between bytes, in order.

    Parameters
    ----------
    nodes
        In an order in which they can run.
    made, read
        Names of the activations that other nodes give, and take, as bytes.
    """
    wanted, there = set(read), set(made)
    for node in reversed(nodes):
        if bridge_of(node) is not None and node.outputs[0].name in wanted:
            wanted |= {tensor.name for tensor in node.inputs}
    found: list[tuple[Any, Bridge]] = []
    for node in nodes:
        bridge = bridge_of(node)
        if bridge is not None and node.outputs[0].name in wanted and all(each.name in there for each in node.inputs):
            there.add(node.outputs[0].name)
            found.append((node, bridge))
    return found


def _hull(grids: Collection[Grid]) -> Grid:
    """The grid that holds what each of some grids holds."""
    if len(grids) == 1:
        return next(iter(grids))
    lows = [-each.zero_point * each.scale for each in grids]
    highs = [(255 - each.zero_point) * each.scale for each in grids]
    return Grid.of(min(lows), max(highs))

"""What lies between convolutions in bytes takes and gives bytes too: pools, sums, and what moves or repeats values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.operators import DOMAIN
from domino_onnx.deployment.values import value_of
from domino_onnx.deployment.windows import MOST_AXES, windows_of

__all__ = ["Bridge", "bridge_of", "bridged", "means_of_channels", "with_shared_grids"]

_IMAGE_RANK = 4
_CHANNELS = 1
"""The axis of channels, as ONNX has it."""
_SLICE_AXES = 2
_RESIZE_SCALES = 2
"""Places of inputs behind the data."""
_MOST_TIMES = 1 << 10
_REPEATING = (
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
)
_AXES_OF_IMAGES = ([2, 3], [-2, -1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A node of bytes with the channels last, in the place of one of floats.

    Attributes
    ----------
    data
        How many inputs, the first ones, are activations.
    stored
        The inputs behind these.
    has_one_grid
        Whether the bytes of all its inputs and outputs are on one grid; else it is a node of floats between
        DequantizeLinear and QuantizeLinear, which ONNX Runtime computes in bytes.
    """

    op: str
    domain: str = ""
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: int = 1
    stored: tuple[NDArray[Any], ...] = ()
    has_one_grid: bool = True


def bridge_of(node: Any) -> Bridge | None:
    """How a node is computed in bytes; None for one that can't be."""
    known = _BRIDGES.get(node.op)
    return None if node.domain or known is None else known(node)


def _sum(node: Any) -> Bridge | None:
    if any(value_of(each) is not None for each in node.inputs):
        return None
    return Bridge(op="Add", data=2, has_one_grid=False)


def _concatenation(node: Any) -> Bridge | None:
    if node.attrs.get("axis") != _CHANNELS or any(value_of(each) is not None for each in node.inputs):
        return None
    return Bridge(op="Concat", attributes={"axis": -1}, data=len(node.inputs))


def _split(node: Any) -> Bridge | None:
    sizes = _stored_behind_data(node)
    if sizes is None or node.attrs.get("axis", 0) != _CHANNELS:
        return None
    return Bridge(op="Split", attributes={**node.attrs, "axis": -1}, stored=tuple(sizes))


def _slice(node: Any) -> Bridge | None:
    """Of the channels alone; before opset 10 a Slice has attributes, and stays."""
    stored = _stored_behind_data(node)
    if stored is None or len(stored) <= _SLICE_AXES or stored[_SLICE_AXES].tolist() != [_CHANNELS]:
        return None
    stored[_SLICE_AXES] = np.full_like(stored[_SLICE_AXES], -1)
    return Bridge(op="Slice", stored=tuple(stored))


def _stored_behind_data(node: Any) -> list[NDArray[Any]] | None:
    """What a node reads besides its data; None where it is computed or left out."""
    values = [value_of(each) for each in node.inputs[1:]]
    stored = [value for value in values if value is not None]
    return stored if len(stored) == len(values) else None


def _pool(node: Any) -> Bridge | None:
    if len(node.outputs) != 1:
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


def _upsampling(node: Any) -> Bridge | None:
    """Repeated pixels: Upsample, or Resize in a mode in which that is what the nearest one is."""
    attrs, inputs = node.attrs, [None if each.is_empty() else value_of(each) for each in node.inputs[1:]]
    place = attrs.get("coordinate_transformation_mode", "asymmetric" if node.op == "Upsample" else "half_pixel")
    rounding = attrs.get("nearest_mode", "floor" if node.op == "Upsample" else "round_prefer_floor")
    scales = inputs[-1] if len(inputs) == (1 if node.op == "Upsample" else _RESIZE_SCALES) else None
    if scales is None or attrs.get("mode", "nearest") != "nearest" or (place, rounding) not in _REPEATING:
        return None
    factors = [int(scale) for scale in scales.tolist()]
    if scales.tolist() != factors or factors[:2] != [1, 1] or not _fits_upsampling(factors[2:]):
        return None
    return Bridge(op="NmUpsampleInt8", domain=DOMAIN, attributes={"factors": factors[2:]})


def _fits_upsampling(factors: Sequence[int]) -> bool:
    return 0 < len(factors) <= MOST_AXES and all(1 <= factor <= _MOST_TIMES for factor in factors)


_BRIDGES: Mapping[str, Callable[[Any], Bridge | None]] = {
    "Add": _sum,
    "AveragePool": _pool,
    "Concat": _concatenation,
    "MaxPool": _pool,
    "Resize": _upsampling,
    "Slice": _slice,
    "Split": _split,
    "Upsample": _upsampling,
}


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
        bridge = bridge_of(node)
        if bridge is not None and bridge.has_one_grid:
            names = {tensor.name for tensor in (*node.inputs[: bridge.data], *node.outputs)}
            joined = names.union(*(together.get(name, set()) for name in names))
            together |= dict.fromkeys(joined, joined)
    shared = dict(grids)
    for name, names in together.items():
        known = {grids[each] for each in names if each in grids}
        if known:
            shared[name] = _hull(known)
    return shared


def bridged(nodes: Sequence[Any], made: Mapping[str, int], read: Collection[str]) -> list[tuple[Any, Bridge, int]]:
    """The nodes that lie between bytes, how they are computed, and the rank of these, in order.

    Parameters
    ----------
    nodes
        In an order in which they can run.
    made, read
        Activations that other nodes give, with their ranks, and take, as bytes.
    """
    known = [(node, bridge) for node in nodes if (bridge := bridge_of(node)) is not None]
    wanted, there = set(read), dict(made)
    for node, bridge in reversed(known):
        if _names(node.outputs) & wanted:
            wanted |= _names(node.inputs[: bridge.data])
    found: list[tuple[Any, Bridge, int]] = []
    for node, bridge in known:
        ranks = {there.get(name) for name in _names(node.inputs[: bridge.data])}
        rank = ranks.pop()
        if _names(node.outputs) & wanted and rank is not None and not ranks:
            there |= dict.fromkeys(_names(node.outputs), rank)
            found.append((node, bridge, rank))
    return found


def _names(tensors: Sequence[Any]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _hull(grids: Collection[Grid]) -> Grid:
    """The grid that holds what each of some grids holds."""
    if len(grids) == 1:
        return next(iter(grids))
    lows = [-each.zero_point * each.scale for each in grids]
    highs = [(255 - each.zero_point) * each.scale for each in grids]
    return Grid.of(min(lows), max(highs))

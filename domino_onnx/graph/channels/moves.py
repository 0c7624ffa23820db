"""What operators that only move or pool values do to axes: reshaping, cutting, joining, padding, reducing, resizing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from domino_onnx.graph.channels.view import NodeView, Port

__all__ = ["MOVES"]

# fmt: off
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)
# fmt: on


def _shape(view: NodeView) -> None:
    """Shape and Size read nothing of the values."""
    view.release(*((view.x, axis) for axis in range(view.x.rank)))


def _transpose(view: NodeView) -> None:
    rank = view.x.rank
    order = view.integers("perm", 1) or tuple(reversed(range(rank)))
    if sorted(order) == list(range(rank)):
        for axis, source in enumerate(order):
            view.link((view.x, source), (view.y, axis))


def _squeeze(view: NodeView) -> None:
    """Squeeze, and Unsqueeze the other way round; the axes must be given, or ranks may change at run time."""
    longer, shorter = (view.x, view.y) if view.op == "Squeeze" else (view.y, view.x)
    axes = view.integers("axes", 1)
    if axes is None:
        return
    dropped = {axis % longer.rank for axis in axes} if longer.rank else set()
    kept = [axis for axis in range(longer.rank) if axis not in dropped]
    if len(kept) == shorter.rank:
        view.release(*((longer, axis) for axis in dropped))
        for axis, source in enumerate(kept):
            view.link((longer, source), (shorter, axis))


def _reshape(view: NodeView) -> None:
    """Reshape and Flatten: axes from the last on, as long as what stands behind them has one size on both sides.

    Values keep their order, so a place on an axis is known from the sizes behind it alone. Where axes are merged into
    one, or one is split, the first of them (the channels of C x H x W) stands there in runs.
    """
    x, y = view.x, view.y
    left, right = _inner(x, x.rank), _inner(y, y.rank)
    while left >= 0 and right >= 0:
        size, other = x.shape[left], y.shape[right]
        if size is None or other is None:
            return
        if size == other:
            view.link((x, left), (y, right))
        elif size < other:
            left = _merged(view, x, left, y, right)
        else:
            right = _merged(view, y, right, x, left)
        if left < 0 or right < 0:
            return
        left, right = _inner(x, left), _inner(y, right)


def _inner(port: Port, end: int) -> int:
    """The last axis before `end` that isn't 1 long, -1 if there is none."""
    return next((axis for axis in reversed(range(end)) if port.shape[axis] != 1), -1)


def _merged(view: NodeView, parts: Port, last: int, whole: Port, axis: int) -> int:
    """Link the outermost of the axes of `parts` up to `last` that make up the axis of `whole`; -1 if none do."""
    size = whole.shape[axis] or 0
    for first in reversed(range(last + 1)):
        run = parts.shape[first + 1 : last + 1]
        outermost = parts.shape[first]
        if outermost is None or None in run or not size:
            return -1
        behind = math.prod(length for length in run if length is not None)
        if outermost * behind >= size:
            break
    else:
        return -1
    if outermost * behind != size:
        return -1
    each = np.arange(size)
    view.link_part((parts, first), each // behind, (whole, axis), each)
    return first


def _concat(view: NodeView) -> None:
    y = view.y
    if any(port.rank != y.rank for port in view.inputs) or not y.rank:
        return
    axis = view.integer("axis", 1) % y.rank
    view.link_all([y, *view.inputs], skip=frozenset({axis}))
    _pieces(view, y, view.inputs, axis)


def _split(view: NodeView) -> None:
    x = view.x
    if any(port.rank != x.rank for port in view.outputs) or not x.rank:
        return
    axis = view.integer("axis", 0) % x.rank
    view.link_all([x, *view.outputs], skip=frozenset({axis}))
    _pieces(view, x, view.outputs, axis)


def _pieces(view: NodeView, whole: Port, pieces: tuple[Port, ...], axis: int) -> None:
    """The pieces stand one after the other on the axis of the whole."""
    sizes = [port.shape[axis] for port in pieces]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or sum(known) != whole.shape[axis]:
        return
    start = 0
    for port, size in zip(pieces, known, strict=True):
        view.link_part((port, axis), np.arange(size), (whole, axis), start + np.arange(size))
        start += size


def _slice(view: NodeView) -> None:
    x, y = view.x, view.y
    starts, ends = view.integers("starts", 1), view.integers("ends", 2)
    if starts is None or ends is None or x.rank != y.rank or not x.rank:
        return
    axes = view.integers("axes", 3)
    steps = view.integers("steps", 4)
    if (axes is None and (view.given(3) or view.has("axes"))) or (steps is None and view.given(4)):
        return
    axes = tuple(range(len(starts))) if axes is None else tuple(axis % x.rank for axis in axes)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        return
    view.link_all([x, y], skip=frozenset(axes))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        if size is not None:
            taken = _taken(size, start, end, step)
            if len(taken) == y.shape[axis] and axes.count(axis) == 1:
                view.link_part((x, axis), taken, (y, axis), np.arange(len(taken)))


def _taken(size: int, start: int, end: int, step: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The places that Slice-13 takes: negative bounds count from the end, and all are clamped to the axis."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    low, high = (0, size) if step > 0 else (-1, size - 1)
    return np.arange(min(max(start, 0), high), min(max(end, low), size), step)


def _pad(view: NodeView) -> None:
    """Constant padding may widen an axis, all new places being equal; other modes repeat places of it."""
    x, y = view.x, view.y
    pads = view.integers("pads", 1)
    axes = view.integers("axes", 3)
    if pads is None or x.rank != y.rank or not x.rank or (axes is None and view.given(3)):
        return
    axes = tuple(range(x.rank)) if axes is None else tuple(axis % x.rank for axis in axes)
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        return
    constant = view.text("mode", "constant") == "constant"
    view.link_all([x, y], skip=frozenset(axes))
    for axis, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        size = x.shape[axis]
        widened = constant and min(before, behind) >= 0
        if before == behind == 0:
            view.link((x, axis), (y, axis))
        elif size is not None and widened and y.shape[axis] == before + size + behind:
            view.link_part((x, axis), np.arange(size), (y, axis), before + np.arange(size))


def _reduce(view: NodeView) -> None:
    """The order of what is summed doesn't matter; the other axes go through."""
    x, y = view.x, view.y
    axes = view.integers("axes", 1)
    if axes is None and (view.given(1) or view.has("axes")):
        return
    if not axes:
        if view.integer("noop_with_empty_axes", 0):
            return
        axes = tuple(range(x.rank))
    reduced = {axis % x.rank for axis in axes} if x.rank else set()
    keep = bool(view.integer("keepdims", 1))
    kept = [axis for axis in range(x.rank) if keep or axis not in reduced]
    if len(kept) != y.rank:
        return
    view.release(*((x, axis) for axis in reduced))
    for axis, source in enumerate(kept):
        if source in reduced:
            view.release((y, axis))
        else:
            view.link((x, source), (y, axis))


def _resize(view: NodeView) -> None:
    """Axes that are scaled by exactly one go through."""
    x, y = view.x, view.y
    cropping = view.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if x.rank != y.rank or cropping or view.has("axes"):
        return
    scales = view.constant(1 if view.op == "Upsample" or len(view.inputs) == 2 else 2)
    if scales is not None and scales.shape == (x.rank,):
        for axis, scale in enumerate(scales.tolist()):
            if scale == 1.0:
                view.link((x, axis), (y, axis))
        return
    sizes = view.constant(3)
    stretched = view.text("keep_aspect_ratio_policy", "stretch") == "stretch"
    if sizes is not None and sizes.shape == (x.rank,) and stretched:
        for axis, size in enumerate(sizes.tolist()):
            if size == x.shape[axis]:
                view.link((x, axis), (y, axis))


MOVES: Mapping[str, Callable[[NodeView], None]] = {
    **dict.fromkeys(("Shape", "Size"), _shape),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeeze),
    **dict.fromkeys(("Reshape", "Flatten"), _reshape),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Concat": _concat,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}

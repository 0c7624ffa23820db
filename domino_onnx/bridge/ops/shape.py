"""Operators that move elements without computing: reshaping, cutting, joining, padding."""

from __future__ import annotations

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()


@op("Shape")
def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Return the shape, or a slice of it, as int64 on the CPU."""
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@op("Size")
def size_of(x: Tensor) -> Tensor:
    """Return the number of elements as int64 on the CPU."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@op("Reshape", since=5, host=(1,))
def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """Reshape; 0 keeps an axis (unless `allowzero`), one -1 takes what is left."""
    sizes = shape.tolist()
    if not allowzero:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


@op("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Make a matrix of the axes before `axis` and those from it on."""
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


@op("Transpose")
def transpose(x: Tensor, *, perm: tuple[int, ...] | None = None) -> Tensor:
    """Permute the axes; reverse them by default."""
    return x.permute(perm if perm is not None else tuple(reversed(range(x.dim()))))


@op("Squeeze")
def squeeze_1(x: Tensor, *, axes: tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1, by default all (axes as attribute, until opset 12)."""
    wanted = tuple(axes) if axes is not None else tuple(a for a, size in enumerate(x.shape) if size == 1)
    if any(x.shape[axis] != 1 for axis in wanted):
        raise ValueError(f"axes {wanted} are not all of size 1")
    return x.squeeze(wanted)


@op("Squeeze", since=13, host=(1,))
def squeeze_13(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Remove axes of size 1, by default all."""
    return squeeze_1(x, axes=None if axes is None else tuple(axes.tolist()))


@op("Unsqueeze")
def unsqueeze_1(x: Tensor, *, axes: tuple[int, ...]) -> Tensor:
    """Insert axes of size 1, numbered in the result (axes as attribute, until opset 12)."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis + rank if axis < 0 else axis for axis in axes):
        x = x.unsqueeze(axis)
    return x


@op("Unsqueeze", since=13, host=(1,))
def unsqueeze_13(x: Tensor, axes: Tensor) -> Tensor:
    """Insert axes of size 1, numbered in the result."""
    return unsqueeze_1(x, axes=tuple(axes.reshape(-1).tolist()))


@op("Concat", since=4)
def concat(*parts: Tensor, axis: int) -> Tensor:
    """Join along an axis."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


@op("Split", since=2, outputs=None)
def split_2(x: Tensor, *, output_count: int, axis: int = 0, split: tuple[int, ...] | None = None) -> tuple[Tensor, ...]:
    """Cut an axis into the sizes `split`, by default equal ones (sizes as attribute, until opset 12)."""
    sizes = list(split) if split is not None else _equal_sizes(x.shape[axis], output_count)
    return torch.split(x, sizes, axis)


@op("Split", since=13, outputs=None, host=(1,))
def split_13(
    x: Tensor,
    split: Tensor | None = None,
    *,
    output_count: int,
    axis: int = 0,
    num_outputs: int | None = None,
) -> tuple[Tensor, ...]:
    """Cut an axis into the sizes `split`, or into `num_outputs` equal ones (the last may be smaller)."""
    count = output_count if num_outputs is None else num_outputs
    sizes = _equal_sizes(x.shape[axis], count) if split is None else split.tolist()
    return torch.split(x, sizes, axis)


def _equal_sizes(total: int, count: int) -> list[int]:
    size = -(-total // count)
    return [min(size, max(total - size * i, 0)) for i in range(count)]


@op("Expand", since=8, host=(1,))
def expand(x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast to a shape, in both directions."""
    wanted = shape.tolist()
    padded = [1] * (len(wanted) - x.dim()) + list(x.shape)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    return x.expand([own if size == 1 else size for own, size in zip(padded, wanted, strict=True)])


@op("Tile", since=6, host=(1,))
def tile(x: Tensor, repeats: Tensor) -> Tensor:
    """Repeat each axis."""
    return x.repeat(repeats.tolist())


@op("Slice")
def slice_1(
    x: Tensor, *, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None = None
) -> Tensor:
    """Cut ranges out of axes (ranges as attributes, until opset 9)."""
    return _sliced(x, starts, ends, range(len(starts)) if axes is None else axes, (1,) * len(starts))


@op("Slice", since=10, host=(1, 2, 3, 4))
def slice_10(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    """Cut ranges with steps, which may be negative, out of axes."""
    count = starts.numel()
    return _sliced(
        x,
        starts.tolist(),
        ends.tolist(),
        range(count) if axes is None else axes.tolist(),
        [1] * count if steps is None else steps.tolist(),
    )


def _sliced(
    x: Tensor,
    starts: list[int] | tuple[int, ...],
    ends: list[int] | tuple[int, ...],
    axes: range | list[int] | tuple[int, ...],
    steps: list[int] | tuple[int, ...],
) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Python clamps a range as ONNX does, but a start before the axis gives nothing if the step is negative.
        first = max(start, -x.shape[axis]) if step < 0 else start
        wanted = range(*slice(first, end, step).indices(x.shape[axis]))
        if step > 0:
            key = [slice(None)] * x.dim()
            key[axis] = slice(wanted.start, max(wanted.stop, wanted.start), step)
            x = x[tuple(key)]
        else:
            x = x.index_select(axis, torch.tensor(list(wanted), dtype=torch.int64, device=x.device))
    return x


@op("Pad", since=2)
def pad_2(x: Tensor, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Pad all axes (amounts as attribute, until opset 10)."""
    return _padded(x, list(pads), range(x.dim()), mode, value)


@op("Pad", since=11, host=(1, 2, 3))
def pad_11(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Pad (or, by a negative amount, crop) some axes: begins first, then ends."""
    chosen = range(x.dim()) if axes is None else axes.tolist()
    fill = 0 if value is None or value.numel() == 0 else value.item()
    return _padded(x, pads.tolist(), chosen, mode, fill)


def _padded(x: Tensor, pads: list[int], axes: range | list[int], mode: str, value: float) -> Tensor:
    amounts = [(0, 0)] * x.dim()
    for position, axis in enumerate(axes):
        amounts[axis] = (pads[position], pads[position + len(axes)])
    if mode == "constant":
        return torch.nn.functional.pad(x, [n for pair in reversed(amounts) for n in pair], value=value)
    for axis, (begin, end) in enumerate(amounts):
        if begin or end:
            x = x.index_select(axis, _border(x.shape[axis], begin, end, mode).to(x.device))
    return x


def _border(size: int, begin: int, end: int, mode: str) -> Tensor:
    """Return which element of an axis is at each place of the padded axis."""
    places = torch.arange(-begin, size + end)
    match mode:
        case "edge":
            return places.clamp(0, size - 1)
        case "wrap":
            return places % size
        case "reflect":
            period = max(2 * (size - 1), 1)
            places = places % period
            return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)
        case _:
            raise ValueError(f"unknown padding mode {mode!r}")


@op("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move blocks of channels into space: depth-column-row or column-row-depth."""
    n, c, h, w = x.shape
    b, depth = blocksize, c // (blocksize * blocksize)
    if mode == "DCR":
        x = x.reshape(n, b, b, depth, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, depth, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, depth, h * b, w * b)


@op("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move blocks of space into channels, the inverse of DepthToSpace."""
    n, c, h, w = x.shape
    b = blocksize
    x = x.reshape(n, c, h // b, b, w // b, b)
    x = x.permute(0, 3, 5, 1, 2, 4) if mode == "DCR" else x.permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, c * b * b, h // b, w // b)


@op("Trilu", since=14, host=(1,))
def trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    """Keep the upper or lower triangle, shifted by `k`."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)

"""A tensor with zeros as the values that are none, and where they are; and back, bit for bit.

A zero is a value all of whose bits are zero. Whatever else there is, -0.0 and NaN with it, is kept as it is.

Two ways to say where the values are. By *positions*: every group of `m` values along an axis keeps `n` of them, and
each position is a digit of base `m`, as many to a byte as fit. By *bitmask*: one bit for each value of the tensor.
Positions are smaller where few values are left of each group (2:16, 1:4), the bitmask elsewhere (8:16), and wherever
zeros follow no scheme.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import ModelError
from domino_onnx.plurals import quantity

__all__ = ["Grouping", "Packed", "PackedForm", "pack", "pack_as", "packed_form", "scatter", "unpack"]

MAX_M = 256
"""A position has to fit in a byte."""
MOST_ZEROS = 1024
"""How many values one stored coordinate may describe at most: a short file must not ask for all memory."""
_USUAL_M = (4, 8, 16, 32)
_DENSEST_GROUPED = 0.5
"""Above this share of non-zero values no grouping with an M of `_USUAL_M` is smaller than the bitmask."""
_Array = NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of `m` consecutive values along `axis`; `digits` positions share a byte, the first in its lowest digit."""

    axis: int
    m: int
    digits: int

    def moved(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape with the grouped axis last: what the groups, one after the other, fill."""
        return (*shape[: self.axis], *shape[self.axis + 1 :], shape[self.axis])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A packed tensor.

    Attributes
    ----------
    shape
        Of the tensor.
    values
        (groups, n) with a grouping, in the order of ascending positions; (1 + count,) without: a zero, for whatever
        has no bit, and the values in C order.
    codes
        (bytes,) uint8: positions, or bits with the first value in the highest bit and zeros at the end.
    grouping
        None for a bitmask.
    """

    shape: tuple[int, ...]
    values: _Array
    codes: NDArray[np.uint8]
    grouping: Grouping | None

    @property
    def nbytes(self) -> int:
        """Bytes of values and codes."""
        return self.values.nbytes + self.codes.nbytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackedForm:
    """How a tensor is packed, without its numbers.

    Attributes
    ----------
    grouping
        None for a bitmask.
    stored
        Shape of the packed values: (groups, n) or (1 + count,).
    nbytes
        Bytes of values and codes.
    """

    grouping: Grouping | None
    stored: tuple[int, ...]
    nbytes: int


def pack(tensor: _Array, groups: tuple[int, int] | None = None, *, axis: int | None = None) -> Packed:
    """Pack a tensor that isn't empty in its smallest form, whether or not that is smaller than the tensor.

    Parameters
    ----------
    groups
        Axis and M of the scheme that the zeros follow, where it is known; it is looked for otherwise.
    axis
        The one axis along which groups are looked for; None looks along all.
    """
    return pack_as(tensor, packed_form(tensor, groups, axis=axis))


def packed_form(tensor: _Array, groups: tuple[int, int] | None = None, *, axis: int | None = None) -> PackedForm:
    """The smallest packed form of a tensor that isn't empty, found as `pack` finds it."""
    kept = _kept(tensor)
    count = int(np.count_nonzero(kept))
    itemsize = tensor.dtype.itemsize
    best = PackedForm(grouping=None, stored=(1 + count,), nbytes=(1 + count) * itemsize + -(-kept.size // 8))
    axes = range(tensor.ndim) if axis is None else [axis % tensor.ndim]
    for along, m in _candidates(kept, count, axes) if groups is None else [groups]:
        if m > MAX_M or tensor.shape[along] % m:
            continue
        n = max(_fullest_group(kept, along, m), 1)
        positions = kept.size // m * n
        digits = _digits(m, positions)
        needed = positions * itemsize + positions // digits
        if needed < best.nbytes:
            best = PackedForm(grouping=Grouping(along, m, digits), stored=(kept.size // m, n), nbytes=needed)
    return best


def pack_as(tensor: _Array, form: PackedForm) -> Packed:
    """Pack a tensor in the form that `packed_form` gave for it."""
    kept = _kept(tensor)
    if form.grouping is not None:
        return _grouped(tensor, kept, form.grouping, form.stored[1])
    values = np.concatenate([np.zeros(1, tensor.dtype), tensor[kept]])
    return Packed(shape=tensor.shape, values=values, codes=np.packbits(kept), grouping=None)


def unpack(packed: Packed) -> _Array:
    """The tensor; C-contiguous.

    Raises
    ------
    ModelError
        If values, codes and shape don't belong together.
    """
    if packed.grouping is None:
        return _from_bitmask(packed)
    grouping, shape = packed.grouping, packed.shape
    positions = _positions(packed, grouping)
    groups = np.zeros((len(positions), grouping.m), packed.values.dtype)
    np.put_along_axis(groups, positions, packed.values, axis=1)
    return np.ascontiguousarray(np.moveaxis(groups.reshape(grouping.moved(shape)), -1, grouping.axis))


def scatter(values: _Array, indices: NDArray[np.int64], shape: Sequence[int]) -> _Array:
    """The tensor that has `values`, (count,), at `indices`, (count,) in C order or (count, rank), and zeros elsewhere.

    Raises
    ------
    ModelError
        If they don't belong together, an index is outside the shape, or they don't ascend.
    """
    size = math.prod(shape)
    if values.ndim != 1 or indices.ndim not in (1, 2) or len(indices) != len(values):
        raise ModelError(f"{values.shape} values and {indices.shape} indices don't belong together")
    if size > MOST_ZEROS * max(len(values), 1):
        raise ModelError(
            f"{quantity(len(values), 'value')} for a tensor of {tuple(shape)}: at most {MOST_ZEROS:,} times as many "
            "can be described"
        )
    if indices.ndim == 2:
        indices = _linear(indices, shape)
    if indices.size and (indices[0] < 0 or indices[-1] >= size or np.any(indices[1:] <= indices[:-1])):
        raise ModelError(f"its indices don't ascend within the {size} values of the tensor")
    tensor = np.zeros(size, values.dtype)
    tensor[indices] = values
    return tensor.reshape(shape)


def _linear(indices: NDArray[np.int64], shape: Sequence[int]) -> NDArray[np.int64]:
    if indices.shape[1] != len(shape) or np.any(indices < 0) or np.any(indices >= np.array(shape)):
        raise ModelError(f"its indices lie outside the shape {tuple(shape)}")
    linear: NDArray[np.int64] = np.ravel_multi_index(tuple(indices.T), tuple(shape)).astype(np.int64, copy=False)
    return linear


def _kept(tensor: _Array) -> NDArray[np.bool_]:
    """Where a value has a bit that is set; C-contiguous."""
    bits = np.ascontiguousarray(tensor).reshape(tensor.shape).view(f"u{tensor.dtype.itemsize}")
    kept: NDArray[np.bool_] = bits != 0
    return kept


def _candidates(kept: NDArray[np.bool_], count: int, axes: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Axes and M by which the values may be grouped, where that can be smaller than a bitmask at all."""
    if count > _DENSEST_GROUPED * kept.size:
        return []
    return [(axis, m) for axis in axes for m in _USUAL_M if not kept.shape[axis] % m]


def _fullest_group(kept: NDArray[np.bool_], axis: int, m: int) -> int:
    before, behind = math.prod(kept.shape[:axis]), math.prod(kept.shape[axis + 1 :])
    grouped = kept.view(np.uint8).reshape(before, kept.shape[axis] // m, m, behind)
    return int(grouped.sum(axis=2, dtype=np.uint16).max())


def _digits(m: int, positions: int) -> int:
    """The most digits of base `m` in a byte that all positions can be cut up into without a rest."""
    fit = 1
    while m ** (fit + 1) <= MAX_M:
        fit += 1
    return next(digits for digits in range(fit, 0, -1) if not positions % digits)


def _grouped(tensor: _Array, kept: NDArray[np.bool_], grouping: Grouping, n: int) -> Packed:
    m = grouping.m
    groups = np.moveaxis(tensor, grouping.axis, -1).reshape(-1, m)
    filled = _filled(np.moveaxis(kept, grouping.axis, -1).reshape(-1, m), n)
    positions = np.nonzero(filled)[1].astype(np.uint8)
    codes = positions.reshape(-1, grouping.digits) @ (m ** np.arange(grouping.digits)).astype(np.uint8)
    return Packed(shape=tensor.shape, values=groups[filled].reshape(-1, n), codes=codes, grouping=grouping)


def _filled(groups: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """The same with exactly `n` in every group: a group that has fewer keeps its first zeros as well."""
    short = np.flatnonzero(groups.sum(axis=1) < n)
    if short.size:
        groups = np.array(groups)
        first = np.argsort(~groups[short], axis=1, kind="stable")[:, :n]
        groups[short[:, None], first] = True
    return groups


def _positions(packed: Packed, grouping: Grouping) -> NDArray[np.intp]:
    """(groups, n), checked."""
    shape, m, digits = packed.shape, grouping.m, grouping.digits
    if not 0 <= grouping.axis < len(shape) or not 2 <= m <= MAX_M or shape[grouping.axis] % m:
        raise ModelError(f"{shape} has no groups of {m} along axis {grouping.axis}")
    if digits < 1 or digits > 8 or m**digits > MAX_M:
        raise ModelError(f"{digits} positions of base {m} don't fit in a byte")
    groups, values = math.prod(shape) // m, packed.values
    if values.ndim != 2 or len(values) != groups or not 1 <= values.shape[1] <= m:
        raise ModelError(f"its values have the shape {values.shape}, {groups} groups of {m} are declared")
    if packed.codes.shape != (-(-values.size // digits),) or values.size % digits:
        raise ModelError(
            f"{quantity(packed.codes.size, 'byte')} of positions can't belong to {quantity(values.size, 'value')}"
        )
    if packed.codes.max(initial=0) >= m**digits:
        raise ModelError(f"a position lies outside its group of {m}")
    digit = packed.codes[:, None] // (m ** np.arange(digits)) % m
    positions = digit.reshape(values.shape)
    if np.any(positions[:, 1:] <= positions[:, :-1]):
        raise ModelError("the positions of a group don't ascend")
    return positions


def _from_bitmask(packed: Packed) -> _Array:
    size = math.prod(packed.shape)
    if packed.values.ndim != 1 or not packed.values.size or _kept(packed.values[:1]).any():
        raise ModelError("its values don't begin with a zero")
    if packed.codes.shape != (-(-size // 8),):
        raise ModelError(f"{quantity(packed.codes.size, 'byte')} can't be a bitmask of {packed.shape}")
    kept = np.unpackbits(packed.codes).view(np.bool_)
    if kept[size:].any() or np.count_nonzero(kept) != packed.values.size - 1:
        raise ModelError(f"its bitmask doesn't belong to {quantity(packed.values.size, 'value')}")
    tensor = np.zeros(size, packed.values.dtype)
    tensor[kept[:size]] = packed.values[1:]
    return tensor.reshape(packed.shape)

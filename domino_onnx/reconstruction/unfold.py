"""A consumer of a site as a matrix product: inputs unfolded into rows of features, in the order of the weight's groups.

For a convolution that is im2col, with the features of one output position in the order (kernel position, input
channel), so that N:M groups are consecutive features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from domino_onnx.graph import LinearUse
from domino_onnx.graph.attributes import integer
from domino_onnx.graph.operators import weight_view

__all__ = ["LinearView"]

_Array = NDArray[Any]


class LinearView:
    """``outputs = features @ matrix.T (+ bias)``, block by block: convolution groups, or the batch of a stacked MatMul.

    Attributes
    ----------
    blocks, outputs, features
        The weight as a matrix is (blocks, outputs, features).

    Raises
    ------
    ValueError
        If the use can't be unfolded: its weight is a vector.
    """

    def __init__(self, use: LinearUse) -> None:
        self._use = use
        self._shape = use.value_shape
        self._group = integer(use.attributes, "group", 1)
        self._scale = _alpha(use)
        if use.op == "Conv":
            self._forward, self._axes = self._conv_axes()
            self._unfold: Callable[[_Array, tuple[int, ...], _Array], _Array] = self._unfold_conv
        elif use.op == "ConvTranspose":
            self._forward, self._axes = self._transposed_axes()
            self._unfold = self._unfold_transposed
        else:
            self._forward, self._axes = self._matrix_axes()
            self._unfold = self._unfold_matrix
        permuted = [self._forward[axis] for axis in self._axes]
        kept = self._split(permuted)
        self.blocks, self.outputs, self.features = kept
        self._permuted = permuted

    # Between the stored tensor and the matrix

    def to_matrix(self, weight: _Array) -> _Array:
        """(blocks, outputs, features) from the stored tensor, in its dtype; a factor alpha of Gemm is left out."""
        value = np.transpose(weight, self._use.axes)
        matrix = np.transpose(value.reshape(self._forward), self._axes)
        return matrix.reshape(self.blocks, self.outputs, self.features)

    def from_matrix(self, matrix: _Array) -> _Array:
        """The inverse of `to_matrix`: C-contiguous, in the stored shape."""
        value = np.transpose(matrix.reshape(self._permuted), np.argsort(self._axes)).reshape(self._shape)
        return np.ascontiguousarray(np.transpose(value, np.argsort(self._use.axes)))

    def _conv_axes(self) -> tuple[list[int], list[int]]:
        outputs, channels, *kernel = self._shape
        shape = [self._group, outputs // self._group, channels, *kernel]
        return shape, [0, 1, *range(3, len(shape)), 2]

    def _transposed_axes(self) -> tuple[list[int], list[int]]:
        channels, outputs, *kernel = self._shape
        shape = [self._group, channels // self._group, outputs, *kernel]
        return shape, [0, 2, *range(3, len(shape)), 1]

    def _matrix_axes(self) -> tuple[list[int], list[int]]:
        if len(self._shape) < 2:
            raise ValueError("a vector")
        lead = math.prod(self._shape[:-2])
        shape = [lead, *self._shape[-2:]]
        return shape, [0, 1, 2] if self._reduces_last() else [0, 2, 1]

    def _reduces_last(self) -> bool:
        use = self._use
        view = weight_view(use.op, use.weight_input, self._shape, use.attributes)
        return view is not None and view.layout.axis == len(self._shape) - 1

    def _split(self, permuted: list[int]) -> tuple[int, int, int]:
        return permuted[0], permuted[1], math.prod(permuted[2:])

    # Between activations and rows of features

    def positions(self, output: _Array) -> int:
        """Rows of features that an output activation has: batch times space, or all axes but the last."""
        return output.size // (self.blocks * self.outputs)

    def unfold(self, data: _Array, output: _Array, chosen: _Array) -> tuple[_Array, _Array]:
        """Features (blocks, len(chosen), features) and outputs (blocks, len(chosen), outputs) at `chosen` positions.

        Parameters
        ----------
        data, output
            The activations that go in and come out in one run.
        chosen
            Positions to take, of the `positions` that there are.
        """
        features = self._unfold(data, output.shape, chosen)
        return features if self._scale == 1.0 else features * self._scale, self.at(output, chosen)

    def at(self, output: _Array, chosen: _Array) -> _Array:
        """(blocks, len(chosen), outputs): an activation of the output's shape at the chosen positions."""
        if self._use.op in ("Conv", "ConvTranspose"):
            rows = np.moveaxis(output, 1, -1)[np.unravel_index(chosen, (len(output), *output.shape[2:]))]
            return np.ascontiguousarray(rows.reshape(len(chosen), self.blocks, self.outputs).swapaxes(0, 1))
        return self._rows(self._vectors_last(output, vector=self._makes_vectors(output.shape)), chosen)

    def _unfold_matrix(self, data: _Array, output_shape: tuple[int, ...], chosen: _Array) -> _Array:
        if self._use.op == "Gemm" and integer(
            self._use.attributes, "transB" if self._use.weight_input == 0 else "transA", 0
        ):
            data = data.T
        data = self._vectors_last(data, vector=data.ndim == 1)
        lead = output_shape[:-1] if self._makes_vectors(output_shape) else output_shape[:-2]
        return self._rows(np.broadcast_to(data, (*lead, *data.shape[-2:])), chosen)

    def _makes_vectors(self, output_shape: tuple[int, ...]) -> bool:
        """Whether a MatMul with a vector has left out an axis of its output."""
        return len(output_shape) < len(self._shape)

    def _vectors_last(self, array: _Array, *, vector: bool) -> _Array:
        """(..., positions, vectors): what the matrix is multiplied with, or what comes out, in the last axis."""
        if vector:
            return array[..., None, :]
        return np.swapaxes(array, -1, -2) if self._use.weight_input == 0 else array

    def _rows(self, array: _Array, chosen: _Array) -> _Array:
        """(blocks, len(chosen), width) of (..., positions, width), where stacked weights fall to some leading axes."""
        if self.blocks > 1:
            first = array.ndim - len(self._shape)
            stacked = [first + axis for axis, size in enumerate(self._shape[:-2]) if size > 1]
            array = np.moveaxis(array, stacked, range(len(stacked)))
        return array.reshape(self.blocks, -1, array.shape[-1])[:, chosen]

    def _unfold_conv(self, data: _Array, output_shape: tuple[int, ...], chosen: _Array) -> _Array:
        kernel = self._shape[2:]
        strides, dilations = self._list("strides", kernel), self._list("dilations", kernel)
        begins, ends = self._conv_pads(data.shape[2:], kernel, strides, dilations)
        padded = np.pad(data, ((0, 0), (0, 0), *zip(begins, ends, strict=True)))
        return self._windows(padded, output_shape[2:], strides, dilations, chosen)

    def _unfold_transposed(self, data: _Array, output_shape: tuple[int, ...], chosen: _Array) -> _Array:
        """The same as a convolution over the input with zeros between its elements, with the kernel turned round."""
        kernel, space = self._shape[2:], output_shape[2:]
        strides, dilations = self._list("strides", kernel), self._list("dilations", kernel)
        sizes = ((n - 1) * s + 1 for n, s in zip(data.shape[2:], strides, strict=True))
        spread = np.zeros((*data.shape[:2], *sizes), data.dtype)
        every = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
        spread[every] = data
        for axis, begin in enumerate(self._transposed_begins(data.shape[2:], space, strides, dilations)):
            reach = dilations[axis] * (kernel[axis] - 1)
            spread = _window(spread, axis + 2, reach - begin, space[axis] + reach)
        return self._windows(spread, space, [1] * len(kernel), dilations, chosen, turned=True)

    def _windows(
        self,
        padded: _Array,
        output_space: tuple[int, ...],
        strides: list[int],
        dilations: list[int],
        chosen: _Array,
        *,
        turned: bool = False,
    ) -> _Array:
        kernel = self._shape[2:]
        rank = len(kernel)
        space = tuple(range(1, rank + 1))
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
        last = np.ascontiguousarray(np.moveaxis(padded, 1, -1))
        windows = sliding_window_view(last, reach, axis=space)  # (N, *space, C, *reach)
        steps = tuple(slice(None, None, s) for s in strides)
        inside = tuple(slice(None, None, -d if turned else d) for d in dilations)
        strided = (slice(None), *steps, slice(None), *inside)
        windows = np.moveaxis(windows[strided], rank + 1, -1)  # (N, *space, *kernel, C)
        taken = windows[np.unravel_index(chosen, (len(windows), *output_space))]
        channels = taken.shape[-1] // self._group
        grouped = np.moveaxis(taken.reshape(len(chosen), math.prod(kernel), self._group, channels), 2, 0)
        return np.ascontiguousarray(grouped).reshape(self._group, len(chosen), -1)

    def _conv_pads(
        self, space: tuple[int, ...], kernel: tuple[int, ...], strides: list[int], dilations: list[int]
    ) -> tuple[list[int], list[int]]:
        mode = self._use.attributes.get("auto_pad", "NOTSET")
        if mode == "NOTSET":
            pads = self._list("pads", (0,) * (2 * len(kernel)), 0)
            return pads[: len(kernel)], pads[len(kernel) :]
        if mode == "VALID":
            return [0] * len(kernel), [0] * len(kernel)
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(space, kernel, strides, dilations, strict=True)
        ]
        begins = [-(-total // 2) if mode == "SAME_LOWER" else total // 2 for total in totals]
        return begins, [total - begin for total, begin in zip(totals, begins, strict=True)]

    def _transposed_begins(
        self, space: tuple[int, ...], output_space: tuple[int, ...], strides: list[int], dilations: list[int]
    ) -> list[int]:
        """Padding at each axis's begin, where the output's size is known (ONNX ConvTranspose-22)."""
        kernel = self._shape[2:]
        mode = self._use.attributes.get("auto_pad", "NOTSET")
        if mode == "NOTSET" and "output_shape" not in self._use.attributes:
            return self._list("pads", (0,) * (2 * len(kernel)), 0)[: len(kernel)]
        extra = self._list("output_padding", kernel, 0)
        totals = [
            max(s * (n - 1) + e + d * (k - 1) + 1 - o, 0)
            for n, k, s, d, e, o in zip(space, kernel, strides, dilations, extra, output_space, strict=True)
        ]
        return [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals]

    def _list(self, name: str, like: tuple[int, ...], default: int = 1) -> list[int]:
        given = self._use.attributes.get(name)
        return list(given) if isinstance(given, tuple) and given else [default] * len(like)


def _window(array: _Array, axis: int, before: int, size: int) -> _Array:
    """`size` elements along `axis`, starting `before` elements ahead of its begin; zeros where there are none."""
    after = size - before - array.shape[axis]
    pads = [(0, 0)] * array.ndim
    pads[axis] = (max(before, 0), max(after, 0))
    padded = np.pad(array, pads)
    start = max(-before, 0)
    return padded[(slice(None),) * axis + (slice(start, start + size),)]


def _alpha(use: LinearUse) -> float:
    """Gemm's factor of the product."""
    value = use.attributes.get("alpha", 1.0)
    return float(value) if isinstance(value, int | float) else 1.0

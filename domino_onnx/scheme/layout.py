"""The one place where a weight tensor is turned into rows of its reduction axis and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["WeightLayout"]

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclasses.dataclass(frozen=True, slots=True)
class WeightLayout:
    """Where the reduction axis of a stored weight tensor lies, so that N:M groups run along input channels.

    Attributes
    ----------
    shape
        The tensor as stored in the file.
    axis
        The reduction axis, non-negative.
    conv_groups
        Into how many equal parts the reduction axis falls: 1, except for ConvTranspose, whose channel axis holds
        the input channels of all its convolution groups one after the other.
    """

    shape: tuple[int, ...]
    axis: int
    conv_groups: int = 1

    @classmethod
    def conv(cls, shape: Sequence[int]) -> WeightLayout:
        """Conv W, (O, I/group, *kernel): along I, for each output channel and kernel position (ONNX Conv-22)."""
        return cls(tuple(shape), 1)

    @classmethod
    def conv_transpose(cls, shape: Sequence[int], conv_groups: int) -> WeightLayout:
        """ConvTranspose W, (I, O/group, *kernel): along I inside each group (ONNX ConvTranspose-22)."""
        return cls(tuple(shape), 0, conv_groups)

    @classmethod
    def matrix(cls, shape: Sequence[int], *, left: bool, transposed: bool = False) -> WeightLayout:
        """A MatMul or Gemm operand of any rank: the last axis on the left, the second-last on the right.

        `transposed` swaps the two (Gemm's transA and transB, ONNX Gemm-13); a vector has one axis only.
        """
        rank = len(shape)
        last = left != transposed or rank == 1
        return cls(tuple(shape), rank - 1 if last else rank - 2)

    @property
    def reduction(self) -> int:
        """Length of one row: the consecutive weights that one output sums over, for one kernel position."""
        return self.shape[self.axis] // self.conv_groups

    @property
    def rows(self) -> int:
        """How many rows of `reduction` weights the tensor has."""
        return self.size // self.reduction if self.reduction else 0

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    def stored_as(self, axes: Sequence[int], shape: Sequence[int]) -> WeightLayout:
        """The same layout seen from a stored tensor of `shape`, whose axis ``axes[k]`` is the axis `k` of this one."""
        return WeightLayout(tuple(shape), axes[self.axis], self.conv_groups)

    def to_rows(self, tensor: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """(rows, reduction) from a tensor of `shape`; a view where strides allow it.

        Conv OIHW gives rows in the order (O, H, W).
        """
        return np.moveaxis(tensor, self.axis, -1).reshape(-1, self.reduction)

    def from_rows(self, rows: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """The inverse of `to_rows`: a C-contiguous tensor of `shape`."""
        moved = [*self.shape[: self.axis], *self.shape[self.axis + 1 :], self.shape[self.axis]]
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), -1, self.axis))

    def to_groups(self, tensor: NDArray[_Scalar], m: int) -> NDArray[_Scalar]:
        """(rows * reduction / m, m): the groups of `m` consecutive weights; `m` must divide `reduction`."""
        return self.to_rows(tensor).reshape(-1, m)

    def stacked(self, tensor: NDArray[_Scalar], m: int) -> NDArray[_Scalar]:
        """(blocks, m, width) from a tensor of `shape`: the groups of `to_groups` lie along the middle axis.

        A view where the tensor is C-contiguous, in the order in which it is stored; `m` must divide `reduction`.
        """
        return tensor.reshape(-1, m, math.prod(self.shape[self.axis + 1 :]))

    def groups_at(self, tensor: NDArray[_Scalar], m: int, places: NDArray[np.integer]) -> NDArray[_Scalar]:
        """(places, m): some of the groups that `to_groups` gives, by their numbers; nothing else is read."""
        moved = np.moveaxis(tensor, self.axis, -1)
        row, group = np.divmod(places, moved.shape[-1] // m)
        others = np.unravel_index(row, moved.shape[:-1]) if moved.ndim > 1 else ()
        index = (*(other[:, None] for other in others), group[:, None] * m + np.arange(m))
        some: NDArray[_Scalar] = np.asarray(moved[index])
        return some

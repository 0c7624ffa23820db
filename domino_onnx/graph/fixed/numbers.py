"""How are the values of a weight looked at without making floats of all of them?"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.graph.operators import WeightView
from domino_onnx.scheme import StoredNumbers

__all__ = ["Floats", "Rows", "WeightNumbers"]

Floats = NDArray[np.floating[Any]]

_HEAD, _SAMPLE = 256, 1024
_ROUNDING = {"float64": 1e-5, "float32": 1e-5, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Twice what a value can be off by when it is rounded; of float32 what a formula computed in it can be off by."""


class WeightNumbers:
    """A weight as (outputs, inputs, positions), and the few of its values that tell most weights apart.

    Positions are those of a convolution's kernel, or the matrices of a stack. Values are given as float32, or float64
    where they are stored so.

    Parameters
    ----------
    values
        The weight as it is stored, not all zeros.
    view
        How its operator reads it.
    numbers
        What its values can be.
    """

    def __init__(self, values: NDArray[np.generic], view: WeightView, numbers: StoredNumbers) -> None:
        self.values, self.numbers = values, numbers
        self._axis, self._output = view.layout.axis, view.output_axis
        self.stored = self._arranged(values)

    @property
    def is_quantised(self) -> bool:
        """Whether the values are multiples of a scale, so that whole numbers say nothing."""
        return self.numbers.scale is not None

    @functools.cached_property
    def head(self) -> Floats:
        """(at most 256,): the first values as they are stored."""
        return self._at(slice(_HEAD))

    @functools.cached_property
    def sample(self) -> Floats:
        """(at most 1024,): values from all over the weight."""
        size = self.values.size
        return self._at(np.linspace(0, size - 1, min(size, _SAMPLE)).astype(np.intp))

    @functools.cached_property
    def flat(self) -> Floats:
        """(size,): all values, in the order in which they are stored."""
        return _floats(self.numbers.floats(self.values)).reshape(-1)

    @functools.cached_property
    def filters(self) -> Floats:
        """(outputs, inputs, positions): all values."""
        return _floats(self._arranged(self.numbers.floats(self.values)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Outputs, inputs and positions."""
        outputs, inputs, positions = self.stored.shape
        return outputs, inputs, positions

    @property
    def rows(self) -> Rows:
        """(outputs, inputs * positions): what each output is made of."""
        return Rows(self.stored, self._scale)

    @property
    def columns(self) -> Rows:
        """(inputs, outputs * positions): what is made of each input."""
        scale = None if self._scale is None else self._scale.swapaxes(0, 1)
        return Rows(self.stored.swapaxes(0, 1), scale)

    def slack(self, values: Floats) -> float:
        """How much two of these values can differ and be the same before they were rounded."""
        scale = self.numbers.scale
        if scale is not None:
            return 0.51 * float(np.abs(scale).max())
        return _ROUNDING[self.numbers.dtype] * float(np.abs(values).max())

    @functools.cached_property
    def _scale(self) -> Floats | None:
        scale = self.numbers.scale
        return None if scale is None else self._arranged(np.broadcast_to(scale, self.values.shape))

    def _arranged(self, array: NDArray[Any]) -> NDArray[Any]:
        if self._output is None:
            return array.reshape(1, -1, 1)
        others = [axis for axis in range(array.ndim) if axis not in (self._output, self._axis)]
        moved = array.transpose(self._output, self._axis, *others)
        return moved.reshape(*moved.shape[:2], -1)

    def _at(self, places: slice | NDArray[np.intp]) -> Floats:
        picked = _floats(self.values.flat[places])
        if self.numbers.scale is None:
            return picked
        return picked * _floats(np.broadcast_to(self.numbers.scale, self.values.shape).flat[places])


class Rows:
    """A weight as a matrix, of which few rows are read."""

    def __init__(self, stored: NDArray[np.generic], scale: Floats | None) -> None:
        self._stored, self._scale = stored, scale
        self.count, self.length = stored.shape[0], stored.shape[1] * stored.shape[2]

    def at(self, places: NDArray[np.intp]) -> Floats:
        """(len(places), length): these rows."""
        picked = _floats(self._stored[places])
        if self._scale is not None:
            picked = picked * self._scale[places]
        return picked.reshape(len(places), self.length)

    def spread(self, most: int) -> NDArray[np.intp]:
        """At most that many row numbers, the first and the last one among them."""
        return np.linspace(0, self.count - 1, min(self.count, most)).astype(np.intp)


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)

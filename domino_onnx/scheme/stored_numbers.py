"""The numbers that a stored weight can hold: those of a float type, or whole multiples of a scale.

The one place where a stored weight is read as floats, and where floats become what is stored.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

__all__ = ["StoredNumbers"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StoredNumbers:
    """How a weight is stored.

    Attributes
    ----------
    dtype
        float32, float16, bfloat16 or float64; int8 or int16 where DequantizeLinear makes floats of them.
    scale
        What one step of the integers is worth, in a shape that broadcasts to the stored one; None for floats. The
        integer 0 means 0.
    """

    dtype: str
    scale: NDArray[np.floating] | None = None

    def __eq__(self, other: object) -> bool:
        if (
            not isinstance(other, StoredNumbers)
            or self.dtype != other.dtype
            or (self.scale is None) != (other.scale is None)
        ):
            return False
        return self.scale is None or other.scale is None or bool(np.all(self.scale == other.scale))

    def __hash__(self) -> int:
        return hash(self.dtype)

    def floats(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """What stored values mean: themselves, or float32."""
        return stored if self.scale is None else stored.astype(np.float32) * self.scale

    def stored(self, floats: NDArray[np.floating]) -> NDArray[np.generic]:
        """The nearest values that can be stored; of two equally near integers the even one.

        What is beyond the range becomes the largest number, of integers the largest that has a negative: 127, not -128.
        numpy doesn't know the range of bfloat16.
        """
        dtype = np.dtype(self.dtype)
        if self.scale is None:
            return _clipped(floats, float(np.finfo(dtype).max)).astype(dtype)
        steps = np.divide(floats, self.scale, out=np.zeros(floats.shape), where=self.scale != 0)
        return _clipped(np.rint(steps), np.iinfo(dtype).max).astype(dtype)


def _clipped(values: NDArray[np.floating], largest: float) -> NDArray[np.floating]:
    clipped: NDArray[np.floating] = np.clip(values, -largest, largest)
    return clipped

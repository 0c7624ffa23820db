"""What a dataset holds for one input: anything that gives samples by their numbers, in memory or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.inputs import InputSpec
from domino_onnx.errors import DataError
from domino_onnx.plurals import quantity

__all__ = ["CheckedSamples", "Samples", "Subset", "cast", "same_sizes", "sizes_of"]


class Samples(Protocol):
    """Samples of one input: a numpy array does, and so does whatever reads or decodes them when they are taken.

    Those that have several shapes also have `sizes`, (count, axes) int64: each sample's shape.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of the first one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples as they are taken."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Some samples of others, which are not copied."""

    source: Samples
    indices: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of one."""
        return (len(self.indices), *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The samples' type."""
        return self.source.dtype

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        return self.source[self.indices[indices]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSamples:
    """Samples that are checked, and cast to the input's type, when they are taken: too many to do it before.

    Attributes
    ----------
    where
        The file and the array, for messages.
    """

    where: str
    source: Samples
    spec: InputSpec

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of samples, and the shape of one."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The input's type."""
        return self.spec.dtype

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """Those of the source."""
        return getattr(self.source, "sizes", None)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        where = f"{self.where}, among samples {min(indices, default=0)} to {max(indices, default=0)},"
        return cast(where, self.source[indices], self.spec)


def sizes_of(arrays: Mapping[str, Samples]) -> NDArray[np.int64] | None:
    """(count, axes) of each sample, those of all inputs behind each other by name; None if all have one shape."""
    several = {name: sizes for name, each in arrays.items() if (sizes := getattr(each, "sizes", None)) is not None}
    if not several:
        return None
    return np.hstack([several.get(name, same_sizes(arrays[name])) for name in sorted(arrays)])


def same_sizes(samples: Samples) -> NDArray[np.int64]:
    """(count, axes) of samples that have one shape."""
    return np.tile(np.array(samples.shape[1:], np.int64), (len(samples), 1))


def cast(where: str, array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """The array in the input's type.

    Raises
    ------
    DataError
        If a value is lost by that, or isn't finite.
    """
    values = array if array.dtype == spec.dtype else array.astype(spec.dtype)
    if spec.dtype.kind in "iub" and not np.array_equal(values, array):
        raise DataError(f"{where} holds values that don't fit {spec.dtype}")
    if (values.dtype.kind == "f" or values.dtype.name == "bfloat16") and not np.isfinite(values).all():
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        raise DataError(f"{where} holds NaN or infinity in {bad:,} of {quantity(values.size, 'value')}")
    return values

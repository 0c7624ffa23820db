"""The dense model as teacher, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset
from domino_onnx.finetuning.portions import Portions
from domino_onnx.options import Device
from domino_onnx.runtime import Session

__all__ = ["Teacher"]

_MAX_CACHED_BYTES = 2 << 30


class Teacher:
    """The dense model's outputs, computed once for all samples where they have a sample axis and fit in memory.

    Parameters
    ----------
    model
        Its file.
    """

    def __init__(self, model: Path, data: Dataset, *, device: Device, threads: int = 0, batch_size: int = 32) -> None:
        self._session = Session(model, device=device, threads=threads)
        self._data = data
        self._batch_size = batch_size
        self._cache = self._all_outputs()

    def outputs(
        self, indices: NDArray[np.int64], inputs: Mapping[str, NDArray[Any]], *, varied: bool = False
    ) -> dict[str, NDArray[Any]]:
        """What the dense model gives for `inputs`, which are those of the samples `indices`, varied or as they are."""
        if self._cache is None or varied:
            return self._session.run(inputs)
        axes = self._data.batching.outputs
        return {name: output.take(indices, axes.get(name, 0)) for name, output in self._cache.items()}

    def _all_outputs(self) -> dict[str, NDArray[Any]] | None:
        data, axes = self._data, self._data.batching.outputs
        if data.stacked or data.batch not in (None, 1):
            return None
        some = np.arange(data.batch_size(3))
        first = self._session.run(data.take(some))
        size = sum(output.nbytes for output in first.values()) / len(some) * data.count
        if size > _MAX_CACHED_BYTES or any(
            not _counts(output, axes.get(name, 0), len(some)) for name, output in first.items()
        ):
            return None
        outputs = Portions(data.batch or 1).fitted(
            lambda size: self._session.run_all(data.batches(size), axes), self._batch_size
        )
        return (
            outputs if all(_counts(output, axes.get(name, 0), data.count) for name, output in outputs.items()) else None
        )


def _counts(output: NDArray[Any], axis: int, samples: int) -> bool:
    """Whether an axis of an output is as long as there are samples."""
    return output.ndim > axis and output.shape[axis] == samples

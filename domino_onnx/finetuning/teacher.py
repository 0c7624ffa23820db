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

_MOST_BYTES = 512 << 20
"""Of answers that are kept: so much for all samples as they are, and so much for those that judge."""
_BATCH = 32

Answers = dict[str, NDArray[Any]]


class Teacher:
    """The dense model's outputs. Those that are asked for again are kept, as far as they fit into 512 MiB.

    Parameters
    ----------
    model
        Its file.
    """

    def __init__(self, model: Path, data: Dataset, *, device: Device, threads: int = 0) -> None:
        self._session = Session(model, device=device, threads=threads)
        self._data = data
        self._plain: Answers | None = None
        self._plain_fits: bool | None = None
        self._judged: dict[tuple[int | None, bytes], Answers] = {}
        self._judged_bytes = 0

    def outputs(self, indices: NDArray[np.int64], inputs: Mapping[str, NDArray[Any]], *, once: bool = False) -> Answers:
        """What the dense model gives for `inputs`, which are those of the samples `indices`.

        With `once` they are variations, or of a stream, and nothing is kept. The first question about samples as they
        are runs all of them, where they have a sample axis and one shape, and their answers fit.
        """
        if not once and self._plain_fits is None:
            self._plain = self._all_outputs()
            self._plain_fits = self._plain is not None
        if once or self._plain is None:
            return self._session.run(inputs)
        axes = self._data.batching.outputs
        return {name: output.take(indices, axes.get(name, 0)) for name, output in self._plain.items()}

    def judged(self, indices: NDArray[np.int64], inputs: Mapping[str, NDArray[Any]], draw: int | None) -> Answers:
        """The same for samples that judge, in their variation `draw`: the same batches each time."""
        key = draw, indices.tobytes()
        if key not in self._judged:
            answers = self._session.run(inputs)
            size = sum(output.nbytes for output in answers.values())
            if self._judged_bytes + size > _MOST_BYTES:
                return answers
            self._judged[key] = answers
            self._judged_bytes += size
        return self._judged[key]

    def _all_outputs(self) -> Answers | None:
        data, axes = self._data, self._data.batching.outputs
        if data.stacked or data.batch not in (None, 1) or data.sizes is not None:
            return None
        some = data.some(3)
        first = self._session.run(data.take(some))
        size = sum(output.nbytes for output in first.values()) / len(some) * data.count
        if size > _MOST_BYTES or any(
            not _counts(output, axes.get(name, 0), len(some)) for name, output in first.items()
        ):
            return None
        outputs = Portions(data.batch or 1).fitted(lambda size: self._session.run_all(data.batches(size), axes), _BATCH)
        return (
            outputs if all(_counts(output, axes.get(name, 0), data.count) for name, output in outputs.items()) else None
        )


def _counts(output: NDArray[Any], axis: int, samples: int) -> bool:
    """Whether an axis of an output is as long as there are samples."""
    return output.ndim > axis and output.shape[axis] == samples

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
from domino_onnx.runtime import Held, Room, Session

__all__ = ["Teacher"]

_MOST_BYTES = 512 << 20
"""Of answers that are kept: so much for all samples as they are, and so much for those that judge."""
_SHARE = 0.125
"""Of the room: so much of them is in memory, and the rest on the disk."""
_BATCH = 32

Answers = dict[str, NDArray[Any]]
_Kept = dict[str, Held]


class Teacher:
    """The dense model's outputs. Those that are asked for again are kept, as far as they fit into 512 MiB.

    Parameters
    ----------
    model
        Its file.
    room
        Where answers are kept. By default in memory.
    """

    def __init__(
        self, model: Path, data: Dataset, *, device: Device, threads: int = 0, room: Room | None = None
    ) -> None:
        self._session = Session(model, device=device, threads=threads)
        self._data = data
        self._scratch = (room or Room()).scratch(share=_SHARE)
        self._plain: list[_Kept] | None = None
        self._plain_fits: bool | None = None
        self._judged: dict[tuple[int | None, bytes], _Kept] = {}
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
        axes, rows = self._data.batching.outputs, [self._plain[index] for index in indices]
        return {
            name: np.concatenate([row[name].load() for row in rows], axes.get(name, 0))
            for name in self._session.output_names
        }

    def judged(self, indices: NDArray[np.int64], inputs: Mapping[str, NDArray[Any]], draw: int | None) -> Answers:
        """The same for samples that judge, in their variation `draw`: the same batches each time."""
        key = draw, indices.tobytes()
        known = self._judged.get(key)
        if known is not None:
            return {name: held.load() for name, held in known.items()}
        answers = self._session.run(inputs)
        size = sum(output.nbytes for output in answers.values())
        if self._judged_bytes + size <= _MOST_BYTES:
            self._judged[key] = self._held(answers)
            self._judged_bytes += size
        return answers

    def _all_outputs(self) -> list[_Kept] | None:
        """Of each sample; None where they can't be told apart, or don't fit."""
        data, axes = self._data, self._data.batching.outputs
        if data.stacked or data.batch not in (None, 1) or data.sizes is not None:
            return None
        some = data.some(3)
        first = self._session.run(data.take(some))
        size = sum(output.nbytes for output in first.values()) / len(some) * data.count
        if size > _MOST_BYTES or not _tell_apart(first, axes, len(some)):
            return None
        return Portions(data.batch or 1).fitted(self._of_each_sample, _BATCH)

    def _of_each_sample(self, size: int) -> list[_Kept] | None:
        """The answers of all samples, of which `size` run at once."""
        axes, kept = self._data.batching.outputs, []
        for run in self._data.runs(size):
            answers = self._session.run(self._data.take(run))
            if not _tell_apart(answers, axes, len(run)):
                return None
            for place in range(len(run)):
                row = {name: output.take([place], axes.get(name, 0)) for name, output in answers.items()}
                kept.append(self._held(row))
        return kept

    def _held(self, answers: Answers) -> _Kept:
        return {name: self._scratch.hold(output) for name, output in answers.items()}


def _tell_apart(answers: Answers, axes: Mapping[str, int], samples: int) -> bool:
    """Whether an axis of each output is as long as there are samples."""
    return all(_counts(output, axes.get(name, 0), samples) for name, output in answers.items())


def _counts(output: NDArray[Any], axis: int, samples: int) -> bool:
    return output.ndim > axis and output.shape[axis] == samples

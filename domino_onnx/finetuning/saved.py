"""How a finetuning is saved and read back.

What is read back may have been damaged or edited, so it is believed only where this finetuning can have saved it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.finetuning.state import Progress, TrainingState
from domino_onnx.finetuning.trainer import Trainer, WeightTensors
from domino_onnx.options import FinetuneOptions, RunOptions
from domino_onnx.scheme import NamedArrays, WeightKey

__all__ = ["CheckpointFile", "Saved", "saved_progress"]

T = TypeVar("T")
_STATE, _FINITE, _BEST = "state", "finite", "best."


class CheckpointFile(Protocol):
    """Where a finetuning that may be interrupted keeps what it needs to go on."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again."""

    def load(self, restore: Callable[[dict[str, Any], NamedArrays], T], /) -> T | None:
        """What `restore` makes of what was saved last; None if nothing was."""

    def save(self, document: Mapping[str, Any], arrays: NamedArrays, /) -> None:
        """Keep this instead of what was saved before, wholly or not at all."""


class Saved:
    """A finetuning in its checkpoint file; nothing is saved without a file.

    Parameters
    ----------
    dtypes
        Stored dtypes of the weights and biases.
    """

    def __init__(
        self,
        file: CheckpointFile | None,
        trainer: Trainer,
        dtypes: Mapping[WeightKey, np.dtype[np.generic]],
        options: FinetuneOptions,
        run: RunOptions,
    ) -> None:
        self._file = file if trainer.processes.rank == 0 else None
        self._trainer = trainer
        self._options = options
        self._same: dict[str, Any] = {
            "weights": [[str(key), str(dtypes[key]), list(value.shape)] for key, value in trainer.given.items()],
            "options": {**plain(options), "batch_size": run.batch_size, "seed": run.seed},
        }

    def save_if_due(self, state: TrainingState) -> None:
        """Keep where the finetuning is, if it is time to."""
        if self._file is not None and self._file.is_due:
            self.save(state)

    def save(self, state: TrainingState) -> None:
        """Keep where the finetuning is."""
        if self._file is None:
            return
        trained = self._trainer.arrays()
        best = {f"{_BEST}{i}": _exact(value) for i, value in enumerate(state.best_values.values())}
        document = {_STATE: plain(state.progress()), _FINITE: _finite(trained), **self._same}
        self._file.save(document, {**trained, **best})

    def load(self) -> TrainingState | None:
        """What was saved, with the trainer brought to it; None if nothing was.

        Raises
        ------
        CheckpointError
            If it is of another finetuning, or what none can have saved.
        """
        # The first process alone looks at it. If it refuses, the others lose touch with it, and end too.
        found = self._trainer.processes.from_first(None if self._file is None else self._file.load(self._believed))
        if found is None:
            return None
        progress, arrays = found
        self._trainer.load(arrays)
        return TrainingState.at(progress, self._best(arrays))

    def _believed(self, document: Mapping[str, Any], arrays: NamedArrays) -> tuple[Progress, NamedArrays]:
        """The progress and the arrays, if this finetuning can have saved them."""
        if any(document.get(name) != same for name, same in self._same.items()):
            raise CheckpointError("it is of another finetuning: other weights, or other options")
        progress = saved_progress(document)
        doubt = progress.doubt(self._options, self._trainer.epoch)
        if doubt is not None:
            raise CheckpointError(f"its state is none of this finetuning: {doubt}")
        trained = {name: array for name, array in arrays.items() if not name.startswith(_BEST)}
        self._trainer.check(trained, progress.step)
        if document.get(_FINITE) != _finite(trained):
            raise CheckpointError("it holds other arrays than when it was saved, or others that aren't finite")
        self._check_best(progress, arrays)
        return progress, arrays

    def _check_best(self, progress: Progress, arrays: NamedArrays) -> None:
        """The best values have the given ones' shapes and dtypes, are finite, and keep to the masks."""
        for i, (key, given) in enumerate(self._trainer.given.items()):
            array, like = arrays.get(f"{_BEST}{i}"), _exact(given)
            if array is None or (array.dtype, array.shape) != (like.dtype, like.shape):
                raise CheckpointError(f"it lacks the best {str(key)!r}, or has it in another shape or type")
        for key, value in self._best(arrays).items():
            given = self._trainer.given[key]
            moves = progress.best_step > 0 and given.is_floating_point()
            if not (self._trainer.may_have(key, value) if moves else torch.equal(value, given)):
                raise CheckpointError(f"its best {str(key)!r} breaks the mask, isn't finite, or isn't what was given")

    def _best(self, arrays: NamedArrays) -> WeightTensors:
        return {
            key: torch.from_numpy(arrays[f"{_BEST}{i}"].copy()).to(given.dtype)
            for i, (key, given) in enumerate(self._trainer.given.items())
        }


def saved_progress(document: Mapping[str, Any]) -> Progress:
    """How far a finetuning had come that saved this document; not yet checked against any options.

    Raises
    ------
    CheckpointError
        If none can have saved it.
    """
    return convert(document.get(_STATE), Progress, what="its state", error=CheckpointError)


def _finite(arrays: NamedArrays) -> dict[str, bool]:
    """Whether each array is finite, by its name; in a training that diverges some aren't."""
    return {name: bool(np.isfinite(array).all()) for name, array in arrays.items()}


def _exact(value: Tensor) -> NDArray[np.generic]:
    """In a dtype that numpy has and nothing is lost in."""
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

"""How far a finetuning has come, and how that is saved and read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.errors import CheckpointError
from domino_onnx.finetuning.results import FinetuneStep
from domino_onnx.finetuning.trainer import Trainer, WeightTensors
from domino_onnx.options import FinetuneOptions, RunOptions
from domino_onnx.scheme import NamedArrays, WeightKey

__all__ = ["CheckpointFile", "Saved", "TrainingState"]


class CheckpointFile(Protocol):
    """Where a finetuning that may be interrupted keeps what it needs to go on."""

    def load(self) -> tuple[dict[str, Any], NamedArrays] | None:
        """What was saved last; None if nothing was."""

    def save(self, document: Mapping[str, Any], arrays: NamedArrays) -> None:
        """Keep this instead of what was saved before, wholly or not at all."""


@dataclasses.dataclass(slots=True, kw_only=True)
class TrainingState:
    """How far it has come; with the trainer's arrays, all that the next step depends on.

    Attributes
    ----------
    before, best
        Held-out loss of the given weights, and of the best ones so far.
    best_step, best_values
        Where those were found, and their values.
    rate_losses
        Held-out loss after a short run at each learning rate, by the rate as text.
    peak
        The learning rate; None until one is chosen.
    step
        Steps that led to the present weights.
    batches
        Batches that were taken in all.
    halvings
        How often the rate was halved.
    """

    before: float
    best: float
    best_values: WeightTensors
    best_step: int = 0
    rate_losses: dict[str, float] = dataclasses.field(default_factory=dict)
    peak: float | None = None
    step: int = 0
    batches: int = 0
    halvings: int = 0
    diverged: bool = False
    history: list[FinetuneStep] = dataclasses.field(default_factory=list)

    @property
    def lr(self) -> float:
        """The peak rate as it is now."""
        return (self.peak or 0.0) * 0.5**self.halvings

    def document(self) -> dict[str, Any]:
        """All but the values, as JSON has it."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "best_values")
        document = {name: getattr(self, name) for name in fields}
        history = [dataclasses.asdict(step) for step in self.history]
        return document | {"history": history, "rate_losses": dict(self.rate_losses)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], best_values: WeightTensors) -> TrainingState:
        """What `document` gave, with the values."""
        history = [FinetuneStep(**step) for step in document["history"]]
        return cls(**{**document, "history": history, "best_values": best_values})


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
        self._same: dict[str, Any] = {
            "weights": [[str(key), str(dtypes[key]), list(value.shape)] for key, value in trainer.given.items()],
            "options": {**dataclasses.asdict(options), "batch_size": run.batch_size, "seed": run.seed},
        }

    def save(self, state: TrainingState) -> None:
        """Keep where the finetuning is."""
        if self._file is None:
            return
        best = {f"best.{i}": _exact(value) for i, value in enumerate(state.best_values.values())}
        self._file.save({"state": state.document(), **self._same}, {**self._trainer.arrays(), **best})

    def load(self) -> TrainingState | None:
        """What was saved, with the trainer brought to it; None if nothing was.

        Raises
        ------
        CheckpointError
            If it is of another finetuning.
        """
        saved = self._trainer.processes.from_first(None if self._file is None else self._file.load())
        if saved is None:
            return None
        document, arrays = saved
        if any(document.get(name) != same for name, same in self._same.items()):
            raise CheckpointError("the checkpoint is of another finetuning: other weights, or other options")
        best = {
            key: torch.from_numpy(arrays[f"best.{i}"].copy()).to(given.dtype)
            for i, (key, given) in enumerate(self._trainer.given.items())
        }
        self._trainer.load(arrays)
        return TrainingState.from_document(document["state"], best)


def _exact(value: Tensor) -> NDArray[np.generic]:
    """In a dtype that numpy has and nothing is lost in."""
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

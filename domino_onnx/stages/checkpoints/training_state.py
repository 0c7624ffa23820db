"""How often a training saves its state: when it is due, and less often where saving takes long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from domino_onnx.scheme import NamedArrays
from domino_onnx.stages.checkpoints.pieces import Restore

if TYPE_CHECKING:
    from domino_onnx.stages.checkpoints.checkpoint import Checkpoint

__all__ = ["TrainingState"]

T = TypeVar("T")

_WORK_A_SAVE = 50
"""Saving takes at most one part in so many of the time."""


class TrainingState:
    """One file of a checkpoint, for a training that saves its state time and again."""

    def __init__(self, checkpoint: Checkpoint, name: str, every: float) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._every = every
        self._next = -float("inf")

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again. Where saving takes long, it is done less often."""
        return self._checkpoint.is_ripe and time.monotonic() >= self._next

    def save(self, document: Mapping[str, Any], arrays: NamedArrays) -> None:
        """Keep this instead of what was saved before, wholly or not at all."""
        start = time.monotonic()
        self._checkpoint.keep(self._name, document, arrays)
        end = time.monotonic()
        self._next = end + max(self._every, _WORK_A_SAVE * (end - start))

    def load(self, restore: Restore[T]) -> T | None:
        """As `Checkpoint.load`."""
        return self._checkpoint.load(self._name, restore)

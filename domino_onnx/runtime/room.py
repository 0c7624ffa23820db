"""How much memory a run may take, and where the rest goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from domino_onnx.runtime.memory import memory_budget, resident_memory
from domino_onnx.runtime.scratch import Scratch

__all__ = ["Room"]

_LEAST = 64 << 20
"""Bytes of activations that are kept in memory however little is allowed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a run may fill.

    Attributes
    ----------
    memory
        Bytes that the process may take. None: no limit.
    folder
        Where activations go that don't fit. None: `scratch_folder()`.
    """

    memory: int | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, memory: int | None, folder: Path | None) -> Room:
        """As the user says (`memory_budget`)."""
        return cls(memory=memory_budget(memory), folder=folder)

    def scratch(self, working: int) -> Scratch:
        """A place for activations that leaves what the process holds now, and `working` bytes that it will need."""
        budget = None if self.memory is None else max(self.memory - resident_memory() - working, _LEAST)
        return Scratch(budget, self.folder)

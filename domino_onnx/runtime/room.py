"""How much memory a run may take, and where the rest goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from domino_onnx.runtime.memory import memory_budget, resident_memory
from domino_onnx.runtime.scratch import Scratch

__all__ = ["LEAST", "Room"]

LEAST = 64 << 20
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

    def scratch(self, working: int = 0, *, share: float = 1.0) -> Scratch:
        """A place for activations, which leaves memory for other things.

        Parameters
        ----------
        working
            Bytes that the process is going to need besides what it holds now.
        share
            Of what is left then: so much may be filled.
        """
        left = self._left()
        return Scratch(None if left is None else max(int(share * (left - working)), LEAST), self.folder)

    def has(self, size: int) -> bool:
        """Whether the process may take so many bytes more."""
        left = self._left()
        return left is None or size <= left

    def _left(self) -> int | None:
        return None if self.memory is None else self.memory - resident_memory()

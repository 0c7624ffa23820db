"""The activations of all batches between two pieces of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import overload

from domino_onnx.runtime.scratch import Held, Scratch
from domino_onnx.runtime.segment_runner import Activations

__all__ = ["Carried"]


class Carried(Sequence[Activations]):
    """What is live of each batch, as far as memory allows in memory.

    Batches are read and written one at a time. An array that is written as it was read is not kept twice.

    Parameters
    ----------
    scratch
        Where the arrays are kept.
    batches
        Number of batches; nothing is live of them yet.
    """

    def __init__(self, scratch: Scratch, batches: int) -> None:
        self._scratch = scratch
        self._held: list[dict[str, Held]] = [{} for _ in range(batches)]
        self._read: list[tuple[object, Held]] = []
        """The arrays of the batch that was read last, for its next writing."""

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, batch: int) -> Activations: ...

    @overload
    def __getitem__(self, batch: slice) -> list[Activations]: ...

    def __getitem__(self, batch: int | slice) -> Activations | list[Activations]:
        """What is live of a batch.

        Raises
        ------
        ScratchError
            If it can't be read back.
        """
        if isinstance(batch, slice):
            return [self[place] for place in range(*batch.indices(len(self)))]
        live = {name: held.load() for name, held in self._held[batch].items()}
        self._read = [(live[name], held) for name, held in self._held[batch].items()]
        return live

    def __iter__(self) -> Iterator[Activations]:
        return (self[batch] for batch in range(len(self)))

    def __setitem__(self, batch: int, live: Activations) -> None:
        """Keep what is live of a batch now.

        Raises
        ------
        ScratchError
            If it can't be written, or the disk has no room.
        """
        known = {id(array): held for array, held in self._read}
        kept = {name: known[id(array)] for name, array in live.items() if id(array) in known}
        self._held[batch], self._read = kept, []  # what isn't live any more makes room for what is
        kept |= {name: self._scratch.hold(array) for name, array in live.items() if name not in kept}

    def only(self, names: Collection[str]) -> Carried:
        """These names alone of what is live of each batch now."""
        chosen = Carried(self._scratch, len(self))
        chosen._held = [{name: held[name] for name in names} for held in self._held]
        return chosen

    def share(self, batch: int, other: Carried) -> None:
        """Let the same be live of a batch as of another network's, without keeping it twice."""
        self._held[batch] = dict(other._held[batch])

    def some(self, batches: Sequence[int]) -> Carried:
        """What is live of these batches now, whatever is live of them later."""
        chosen = Carried(self._scratch, len(batches))
        chosen._held = [dict(self._held[batch]) for batch in batches]
        return chosen

"""Which parts of a file are free: first fit, with neighbours joined."""

from __future__ import annotations

import bisect

__all__ = ["Regions"]

_ALIGNMENT = 4096


class Regions:
    """Regions of one file, handed out from its begin on.

    Attributes
    ----------
    end
        Bytes of the file that are in use, gaps with them.
    """

    def __init__(self) -> None:
        self.end = 0
        self._gaps: list[tuple[int, int]] = []  # (offset, size), ascending, none touches another or the end

    def take(self, size: int) -> int:
        """The offset of a region of at least `size` bytes."""
        whole = _aligned(size)
        for place, (offset, free) in enumerate(self._gaps):
            if free >= whole:
                self._gaps[place : place + 1] = [(offset + whole, free - whole)] if free > whole else []
                return offset
        offset = self.end
        self.end += whole
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """Free a region that `take` gave for this size."""
        whole = _aligned(size)
        place = bisect.bisect(self._gaps, (offset,))
        if place < len(self._gaps) and self._gaps[place][0] == offset + whole:
            whole += self._gaps.pop(place)[1]
        if place > 0 and sum(self._gaps[place - 1]) == offset:
            place -= 1
            offset, before = self._gaps.pop(place)
            whole += before
        if offset + whole == self.end:
            self.end = offset
        else:
            self._gaps.insert(place, (offset, whole))


def _aligned(size: int) -> int:
    return -(-max(size, 1) // _ALIGNMENT) * _ALIGNMENT

"""How much may be carried in memory at once."""

from __future__ import annotations

import os

__all__ = ["affordable"]

_SHARE = 0.4


def affordable(count: int, size: int) -> int:
    """Of `count` things of `size` bytes, so many, at least one, as 40 % of the machine's memory can hold.

    All, on systems that don't say how much there is.
    """
    memory = _physical_memory()
    return count if memory is None else max(1, min(count, int(_SHARE * memory / (size + 1))))


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None

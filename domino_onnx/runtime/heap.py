"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["give_back_memory"]


def give_back_memory() -> None:
    """Return what the C library's heap keeps of freed arrays; nothing happens where it has no means to.

    glibc raises the size from which on arrays are mapped by themselves with each of them that is freed, up to 32 MiB.
    From then on arrays of activations lie in its heap, and holes between them stay part of the process.
    """
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    """Glibc's ``malloc_trim``."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda _: None

"""Counts and names in messages: one thing, and several of them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["quantity", "some_of"]


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """How many of a thing: 1 image, 2,000 images; `plural` where that isn't the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def some_of(names: Sequence[object], most: int = 3) -> str:
    """The first few names, and how many there are besides: 'a', 'b', 'c' and 4 more."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

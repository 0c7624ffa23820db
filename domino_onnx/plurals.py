"""Counts in messages: one thing, and several of them."""

from __future__ import annotations

__all__ = ["quantity"]


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """How many of a thing: 1 image, 2,000 images; `plural` where that isn't the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"

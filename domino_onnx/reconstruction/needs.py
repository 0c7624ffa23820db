"""What a layer needs to be refitted: so many positions, and so much memory."""

from __future__ import annotations

__all__ = ["MAX_SAMPLE", "positions_wanted", "working_memory"]

MAX_SAMPLE = 16_384
"""Positions of a clipped layer that are kept themselves."""
_PER_FEATURE = 32
_FEWEST = 16_384
_MOST = 65_536


def positions_wanted(features: int) -> int:
    """Positions of all batches together that a least-squares fit with so many features deserves."""
    return max(_FEWEST, min(_PER_FEATURE * features, _MOST))


def working_memory(blocks: int, outputs: int, features: int, *, clipped: bool) -> int:
    """About the bytes that it takes to gather a layer's statistics and to solve it.

    `clipped` tells whether its outputs are clipped, so that positions are kept themselves.
    """
    moments = blocks * features * (features + outputs)
    systems = features * (3 * features + 10 * outputs)
    sample = MAX_SAMPLE * (features + 2 * outputs) * blocks if clipped else 0
    return 8 * (4 * moments + systems + sample)

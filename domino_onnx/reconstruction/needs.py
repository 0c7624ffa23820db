"""What a layer needs to be refitted: so many positions, in which form, and so much memory."""

from __future__ import annotations

__all__ = ["MAX_SAMPLE", "are_few", "drops_sessions", "outputs_at_once", "positions_wanted", "working_memory"]

MAX_SAMPLE = 16_384
"""Positions of a clipped layer that are kept themselves."""
_WEIGHTS_AT_ONCE = 1 << 22
"""Weights that are solved together, of whole outputs, where positions are few."""
_LARGE = 1 << 26
"""Weights from which on sessions are dropped: they hold copies, two where weights change."""
_PER_FEATURE = 32
_FEWEST = 16_384
_MOST = 65_536
_MANY_FEATURES = 2048
"""Below, second moments are small and quickly solved."""
_HELD = 16
"""Matrices of `_WEIGHTS_AT_ONCE` numbers that solving holds at once."""


def positions_wanted(features: int) -> int:
    """Positions of all batches together that a least-squares fit with so many features deserves."""
    return max(_FEWEST, min(_PER_FEATURE * features, _MOST))


def outputs_at_once(features: int) -> int:
    """How many outputs are solved, or converted, together where all would take much memory; at least one."""
    return max(1, _WEIGHTS_AT_ONCE // max(features, 1))


def drops_sessions(weights: int) -> bool:
    """Whether the sessions of pieces that have done their part are dropped, of a model with so many weights."""
    return weights > _LARGE


def are_few(positions: int, features: int) -> bool:
    """Whether products with the positions themselves are cheaper than with their second moments."""
    return features >= _MANY_FEATURES and 2 * positions <= features


def working_memory(blocks: int, outputs: int, features: int, positions: int, *, clipped: bool) -> int:
    """About the bytes that it takes to gather a layer's statistics and to solve it.

    `positions` are those of all batches. `clipped` tells whether its outputs are clipped, so that positions are kept
    themselves.
    """
    sample = min(positions, MAX_SAMPLE) * (features + 2 * outputs) * blocks if clipped else 0
    if are_few(positions, features):
        gathered = blocks * positions * (features + outputs)
        solved = 2 * blocks * outputs * features + 4 * positions * features + _HELD * _WEIGHTS_AT_ONCE
        return 8 * (gathered + solved + sample)
    moments = blocks * features * (features + outputs)
    systems = features * (3 * features + 10 * outputs)
    return 8 * (4 * moments + systems + sample)

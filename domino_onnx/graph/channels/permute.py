"""New values of stored tensors after channels were permuted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.graph.channels.axes import Places
from domino_onnx.graph.channels.groups import ChannelGroup
from domino_onnx.scheme import WeightKey

__all__ = ["permuted_values"]


def permuted_values(
    load: Callable[[WeightKey], NDArray[np.generic]],
    moves: Iterable[tuple[ChannelGroup, Places]],
) -> dict[WeightKey, NDArray[np.generic]]:
    """The tensors of these groups with their channels permuted, each group by its own permutation.

    Parameters
    ----------
    load
        Gives a tensor's values in its stored shape; asked once for each tensor.
    moves
        Groups of one model, each at most once, and (size,) permutations: what stood at channel ``permutation[k]``
        comes to stand at channel `k`. The order of the moves doesn't matter, as groups never share a place.

    Returns
    -------
    New C-contiguous arrays in the stored dtype and shape; tensors that a move leaves as they were are left out.

    Raises
    ------
    ValueError
        If a permutation isn't one of its group's channels.
    """
    values: dict[WeightKey, NDArray[np.generic]] = {}
    for group, permutation in moves:
        if not np.array_equal(np.sort(permutation), np.arange(group.size)):
            raise ValueError(f"{permutation!r} is no permutation of {group.size} channels")
        if np.array_equal(permutation, np.arange(group.size)):
            continue
        for member in group.members:
            tensor = values[member.key] if member.key in values else load(member.key)
            order = np.arange(tensor.shape[member.axis])
            order[member.places] = member.places[permutation]
            values[member.key] = np.take(tensor, order, axis=member.axis)
    return values

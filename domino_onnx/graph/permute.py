"""New values of stored tensors after channels were permuted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.graph.axes import Places
from domino_onnx.graph.channels import ChannelGroup
from domino_onnx.graph.index import stored_tensors
from domino_onnx.graph.tensors import store_values
from domino_onnx.scheme import WeightKey

__all__ = ["permuted_values", "replaced"]


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


def replaced(model: ModelProto, values: Mapping[WeightKey, NDArray[np.generic]]) -> ModelProto:
    """A copy of the model with other values in some of its inline tensors."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = stored_tensors(copy)
    for key, value in values.items():
        store_values(tensors[key], value)
    return copy

"""Values of permuted tensors, on groups that are written by hand."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from domino_onnx.graph.channels.groups import ChannelGroup, ChannelMember
from domino_onnx.graph.channels.permute import permuted_values
from domino_onnx.scheme import WeightKey

Array = np.ndarray[Any, np.dtype[Any]]
W, V = WeightKey("w"), WeightKey("v")


def member(key: WeightKey, axis: int, places: list[list[int]], role: Any = "producer") -> ChannelMember:
    return ChannelMember(key=key, axis=axis, role=role, places=np.array(places))


def group(*members: ChannelMember) -> ChannelGroup:
    return ChannelGroup(size=len(members[0].places), members=members)


def plain(size: int) -> list[list[int]]:
    return [[place] for place in range(size)]


def permuted(tensors: dict[WeightKey, Array], *moves: tuple[ChannelGroup, list[int]]) -> dict[WeightKey, Array]:
    asked: list[WeightKey] = []

    def load(key: WeightKey) -> Array:
        asked.append(key)
        return tensors[key]

    before = {key: tensor.copy() for key, tensor in tensors.items()}
    found = permuted_values(load, [(one, np.array(order)) for one, order in moves])
    assert len(asked) == len(set(asked))
    for key, tensor in tensors.items():
        assert np.array_equal(tensor, before[key])
    return found


def test_a_channel_comes_from_where_the_permutation_says() -> None:
    found = permuted({W: np.arange(6.0).reshape(3, 2)}, (group(member(W, 0, plain(3))), [2, 0, 1]))
    assert found[W].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert found[W].flags.c_contiguous


def test_one_weight_is_permuted_by_its_consumer_and_its_producer_group() -> None:
    tensor = np.arange(12).reshape(3, 4)
    rows, columns = group(member(W, 0, plain(3))), group(member(W, 1, plain(4), "consumer"), member(V, 0, plain(4)))
    found = permuted({W: tensor, V: np.arange(4)}, (rows, [1, 2, 0]), (columns, [3, 1, 0, 2]))
    assert np.array_equal(found[W], tensor[[1, 2, 0]][:, [3, 1, 0, 2]])
    assert found[V].tolist() == [3, 1, 0, 2]
    assert columns.consumers == columns.members[:1]


def test_groups_on_one_axis_are_permuted_in_any_order() -> None:
    first, second = group(member(W, 0, [[0], [2]])), group(member(W, 0, [[1], [3], [4]]))
    moves = ((first, [1, 0]), (second, [2, 0, 1]))
    for order in (moves, moves[::-1]):
        assert permuted({W: np.arange(6)}, *order)[W].tolist() == [2, 4, 0, 1, 3, 5]


def test_copies_move_together() -> None:
    flattened = group(member(W, 0, [[0, 1, 2], [3, 4, 5]]))
    assert permuted({W: np.arange(6)}, (flattened, [1, 0]))[W].tolist() == [3, 4, 5, 0, 1, 2]


def test_a_tensor_may_be_in_a_group_twice() -> None:
    tensor = np.arange(9).reshape(3, 3)
    both = group(member(W, 0, plain(3)), member(W, 1, plain(3)))
    assert np.array_equal(permuted({W: tensor}, (both, [1, 2, 0]))[W], tensor[[1, 2, 0]][:, [1, 2, 0]])


def test_the_identity_loads_nothing() -> None:
    assert permuted({}, (group(member(W, 0, plain(3))), [0, 1, 2])) == {}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, np.int8])
def test_the_dtype_stays(dtype: Any) -> None:
    found = permuted({W: np.arange(3).astype(dtype)}, (group(member(W, 0, plain(3))), [2, 1, 0]))
    assert found[W].dtype == dtype


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [0, 1, 2, 3]])
def test_what_is_no_permutation_is_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match="no permutation of 3 channels"):
        permuted({W: np.arange(3)}, (group(member(W, 0, plain(3))), order))

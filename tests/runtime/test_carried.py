"""Activations within a budget of memory: the same arrays come back, wherever they were."""

from __future__ import annotations

import gc
import types
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from domino_onnx.errors import ScratchError
from domino_onnx.runtime import Carried, HeldArrays, Room, Scratch

Array = NDArray[Any]
SIZE = 1 << 16


def array(value: float, dtype: Any = np.float32) -> Array:
    return np.full((4, SIZE // 16), value, dtype)


@pytest.mark.parametrize("budget", [0, 3 * SIZE, None])
def test_batches_come_back_as_they_were_written(budget: int | None, tmp_path: Path) -> None:
    carried = Carried(Scratch(budget, tmp_path), 4)
    for step in range(3):
        for batch in range(4):
            live = carried[batch]
            carried[batch] = {**live, f"a{step}": array(10 * batch + step), "small": np.arange(batch)}
    for batch in range(4):
        live = carried[batch]
        assert live.keys() == {"a0", "a1", "a2", "small"}
        np.testing.assert_array_equal(live["small"], np.arange(batch))
        for step in range(3):
            np.testing.assert_array_equal(live[f"a{step}"], array(10 * batch + step))
    assert list(tmp_path.iterdir()) == []  # the file has no name


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((0, 3), np.float32),
        np.array(3.5),
        np.arange(2 * SIZE).reshape(2, -1)[:, ::2],
        np.broadcast_to(np.float32(2), (SIZE,)),
        np.ones(SIZE, ml_dtypes.bfloat16),
        np.ones(SIZE, np.bool_),
        np.array(["a", "b"] * SIZE, object),
    ],
    ids=["empty", "scalar", "strided", "broadcast", "bfloat16", "bool", "strings"],
)
def test_every_kind_of_array_comes_back(odd: Array, tmp_path: Path) -> None:
    carried = Carried(Scratch(0, tmp_path), 1)
    carried[0] = {"x": odd}
    got = carried[0]["x"]
    assert got.dtype == odd.dtype
    assert got.shape == odd.shape
    np.testing.assert_array_equal(got, odd)


def test_memory_holds_no_more_than_the_budget(tmp_path: Path) -> None:
    scratch = Scratch(2 * SIZE, tmp_path)
    carried = Carried(scratch, 8)
    for batch in range(8):
        carried[batch] = {"x": array(batch)}
    assert scratch.in_memory == 2 * SIZE
    assert scratch.written == 6 * SIZE
    del carried
    gc.collect()
    assert scratch.in_memory == 0


@pytest.mark.parametrize("budget", [0, None])
def test_arrays_that_are_held_are_read_by_key(budget: int | None, tmp_path: Path) -> None:
    scratch = Scratch(budget, tmp_path)
    held = HeldArrays({place: scratch.hold(array(place)) for place in range(3)})
    assert (list(held), scratch.in_memory > 0) == ([0, 1, 2], budget is None)
    some = held.only({2, 0, 7})
    assert list(some) == [0, 2]
    for place, values in some.items():
        np.testing.assert_array_equal(values, array(place))


def test_what_is_carried_on_is_not_written_again(tmp_path: Path) -> None:
    scratch = Scratch(0, tmp_path)
    carried = Carried(scratch, 2)
    for batch in range(2):
        carried[batch] = {"residual": array(batch)}
    for batch in range(2):
        live = carried[batch]
        carried[batch] = {"residual": live["residual"], "same": live["residual"]}
    assert scratch.written == 2 * SIZE
    np.testing.assert_array_equal(carried[1]["same"], array(1))


def test_two_networks_share_what_is_the_same_in_both(tmp_path: Path) -> None:
    scratch = Scratch(4 * SIZE, tmp_path)
    dense = Carried(scratch, 2)
    for batch in range(2):
        dense[batch] = {"x": array(batch)}
    pruned = dense.some([0, 1])
    assert scratch.in_memory == 2 * SIZE
    dense[0] = {"x": array(7)}
    np.testing.assert_array_equal(pruned[0]["x"], array(0))
    pruned.share(0, dense)
    np.testing.assert_array_equal(pruned[0]["x"], array(7))


def test_the_file_is_used_again(tmp_path: Path) -> None:
    scratch = Scratch(0, tmp_path)
    carried = Carried(scratch, 3)
    for step in range(20):
        for batch in range(3):
            carried[batch] = {"x": array(step)}
    assert scratch.disk <= 4 * SIZE
    carried[0] = carried[1] = carried[2] = {}
    assert scratch.disk == 0


def test_a_disk_without_room_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=1000))
    carried = Carried(Scratch(0, tmp_path), 1)
    with pytest.raises(ScratchError, match=r"--scratch.*--memory"):
        carried[0] = {"x": array(1)}


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    carried = Carried(Scratch(0, tmp_path / "missing"), 1)
    with pytest.raises(ScratchError, match="missing"):
        carried[0] = {"x": array(1)}


def test_room_leaves_what_the_work_takes() -> None:
    assert Room().scratch(1 << 40).budget is None
    small = Room(memory=1 << 20).scratch(0).budget
    assert small == 64 << 20
    wide, narrow = (Room(memory=1 << 50).scratch(working).budget for working in (0, 1 << 49))
    assert wide is not None
    assert narrow is not None
    assert 0.9 * (1 << 49) < wide - narrow < 1.1 * (1 << 49)

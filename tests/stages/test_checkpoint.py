"""A checkpoint's files: what goes in comes out, and what isn't one is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from domino_onnx.errors import CheckpointError
from domino_onnx.stages.checkpoint import Checkpoint


def together(document: Any, arrays: Any) -> Any:
    return document, arrays


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    part = Checkpoint(tmp_path / "c", {"seed": 1}, resume=False).file("state")
    assert part.load(together) is None
    arrays = {
        "bfloat16": np.array([1.5, -0.0, 3e38], ml_dtypes.bfloat16),
        "float16": np.float16([[0.1]]),
        "a scalar": np.array(3.0),
        "nothing": np.zeros((0, 2), np.float32),
    }
    document = {"infinite": float("inf"), "list": [1, None, "ü"]}
    part.save(document, arrays)
    again = Checkpoint(tmp_path / "c", {"seed": 1}, resume=True).file("state").load(together)
    assert again is not None
    assert again[0] == document
    assert again[1].keys() == arrays.keys()
    for name, array in arrays.items():
        assert (again[1][name].dtype, again[1][name].shape) == (array.dtype, array.shape)
        assert again[1][name].tobytes() == array.tobytes()


def test_another_run_is_told_apart(tmp_path: Path) -> None:
    Checkpoint(tmp_path, {"seed": "1", "model": "x"}, resume=False).file("state").save({}, {})
    with pytest.raises(CheckpointError, match="give --resume"):
        Checkpoint(tmp_path, {"seed": "1", "model": "x"}, resume=False)
    with pytest.raises(CheckpointError, match="seed was '1', is '2'"):
        Checkpoint(tmp_path, {"seed": "2", "model": "x"}, resume=True).file("state").load(together)


@pytest.mark.parametrize("damage", ["cut", "other", "pickle", "empty"])
def test_what_is_no_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, {}, resume=True)
    checkpoint.file("state").save({}, {"a": np.zeros(1000)})
    path = tmp_path / "state.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "other":
        np.savez(path, a=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, head=np.array([{"version": 1}], dtype=object))
    else:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        checkpoint.file("state").load(together)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\xff", "its head is not readable JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (
            b'{"version": 3, "run": {}, "document": [], "bfloat16": []}',
            r"'document' is \[\]; it must be keys and values",
        ),
        (b'{"version": 3, "run": {}, "bfloat16": []}', "lacks the key 'document'"),
        (b'{"version": 3, "run": {}, "document": {}, "bfloat16": ["b"]}', "delete it"),
        (b'{"version": 1, "run": {}, "document": {}, "bfloat16": []}', "has the version 1; this program reads 3"),
    ],
)
def test_a_head_that_is_not_ours_is_refused(head: bytes, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", head=np.frombuffer(head, np.uint8))
    with pytest.raises(CheckpointError, match=says):
        Checkpoint(tmp_path, {}, resume=True).file("state").load(together)


def test_a_failed_write_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Checkpoint(tmp_path, {}, resume=True).file("state")
    part.save({"step": 1}, {"a": np.ones(3)})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CheckpointError, match="No space left"):
        part.save({"step": 2}, {"a": np.zeros(3)})
    saved = part.load(together)
    assert saved is not None
    assert saved[0] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "none" / "deep"):
        with pytest.raises(CheckpointError, match="can't make the folder"):
            Checkpoint(folder, {}, resume=False)

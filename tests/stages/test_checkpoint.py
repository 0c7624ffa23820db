"""A run's folder: what goes in comes out, it is one run's alone, and what isn't a checkpoint is refused in words."""

from __future__ import annotations

import contextlib
import errno
import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from domino_onnx.errors import BudgetError, CheckpointError
from domino_onnx.stages import Checkpoint, Journal, holds_checkpoint
from domino_onnx.stages.checkpoints.sealed import write_sealed

RUN = {"seed": "1", "model": "x"}
LOCK = ".domino-onnx.lock"


class Listener:
    """Hears what the user is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str) -> None: ...

    def progress(self, done: float, total: float, text: str) -> None: ...

    def expect(self, forecast: Any) -> None: ...

    def left(self, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def warn(self, message: str) -> None:
        self.told.append(message)


def together(document: Any, arrays: Any) -> Any:
    return document, dict(arrays)


def interrupted(folder: Path, pieces: dict[str, Any], run: dict[str, str] | None = None, **more: Any) -> None:
    """A run that keeps these documents, and is interrupted."""
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(folder, **more) as checkpoint:
        checkpoint.is_of(RUN if run is None else run)
        for name, (document, arrays) in pieces.items():
            checkpoint.keep(name, document, arrays)
        raise KeyboardInterrupt


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    arrays = {
        "bfloat16": np.array([1.5, -0.0, 3e38], ml_dtypes.bfloat16),
        "float16": np.float16([[0.1]]),
        "a scalar": np.array(3.0),
        "nothing": np.zeros((0, 2), np.float32),
        "by columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    }
    document = {"infinite": float("inf"), "list": [1, None, "ü"]}
    interrupted(tmp_path / "c", {"state": (document, arrays)})
    assert names(tmp_path / "c") == ["state.npz"]
    with Checkpoint(tmp_path / "c", resume=True) as checkpoint:
        checkpoint.is_of(RUN)
        assert checkpoint.load("another", together) is None
        again = checkpoint.load("state", together)
    assert again is not None
    assert again[0] == document
    assert again[1].keys() == arrays.keys()
    for name, array in arrays.items():
        assert (again[1][name].dtype, again[1][name].shape) == (array.dtype, array.shape)
        assert again[1][name].tobytes() == array.tobytes()


def test_it_goes_when_the_run_ends_well_or_can_never(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    interrupted(folder, {"state": ({}, {})})
    with Checkpoint(folder, resume=True) as checkpoint:
        checkpoint.is_of(RUN)
    assert not folder.exists()
    with contextlib.suppress(BudgetError), Checkpoint(folder) as checkpoint:
        checkpoint.keep("state", {}, {})
        raise BudgetError
    assert not folder.exists()


def test_an_interruption_while_it_goes_leaves_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, unlink = tmp_path / "c", Path.unlink

    def removed_and_interrupted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        raise KeyboardInterrupt

    checkpoint = Checkpoint(folder).__enter__()
    assert checkpoint.keep("state", {}, {})
    monkeypatch.setattr(Path, "unlink", removed_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.__exit__(None, None, None)
    assert not folder.exists()


def test_what_is_the_users_stays(tmp_path: Path) -> None:
    for name in ("lock", "notes.txt"):
        (tmp_path / name).write_text("mine")
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.keep("state", {}, {})
        assert names(tmp_path) == [LOCK, "lock", "notes.txt", "state.npz"]
    assert names(tmp_path) == ["lock", "notes.txt"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
    np.savez(tmp_path / "mine.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"mine.npz is damaged, or no part of a checkpoint"):
        Checkpoint(tmp_path).__enter__()
    listener = Listener()
    with Checkpoint(tmp_path, Journal(listener), named=False) as checkpoint:
        checkpoint.keep("state", {}, {})
    assert "mine.npz" in listener.told[0]
    assert names(tmp_path) == ["lock", "mine.npz", "notes.txt"]


def test_leftovers_of_its_own_files_go_alone(tmp_path: Path) -> None:
    """The folder may be the output's: what is about to become the output is no leftover."""
    for name in (".state.npz.1.domino-onnx.tmp", ".out.onnx.1.domino-onnx.tmp"):
        (tmp_path / name).touch()
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.keep("state", {}, {})
        assert names(tmp_path) == [LOCK, ".out.onnx.1.domino-onnx.tmp", "state.npz"]


def test_nothing_is_written_in_the_first_seconds(tmp_path: Path) -> None:
    folder, journal = tmp_path / "c", Journal()
    interrupted(folder, {"state": ({}, {})}, journal=journal, after=1e9, named=False)
    assert not folder.exists()
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(folder, journal, after=0.3, named=False) as checkpoint:
        checkpoint.keep("early", {"n": 1}, {"a": np.ones(2)})
        while not checkpoint.is_ripe:
            assert not folder.exists()
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert names(folder) == ["early.npz"], "what was kept in memory is written at last"


def test_without_resume_a_run_starts_anew_and_says_so(tmp_path: Path) -> None:
    interrupted(tmp_path, {"state": ({}, {}), "other": ({}, {})})
    listener = Listener()
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(tmp_path, Journal(listener)) as checkpoint:
        checkpoint.is_of(RUN)
        assert checkpoint.load("state", together) is None
        assert names(tmp_path) == [LOCK, "other.npz", "state.npz"], "until there is something to keep"
        checkpoint.keep("new", {}, {})
        assert names(tmp_path) == [LOCK, "new.npz"]
        raise KeyboardInterrupt
    assert len(listener.told) == 1
    assert "an earlier run was interrupted" in listener.told[0]
    assert "--resume goes on from it" in listener.told[0]


def test_a_short_run_leaves_another_ones_work_alone(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    interrupted(folder, {"state": ({}, {})})
    for run, stays in (({"seed": "2"}, True), (RUN, False)):
        with Checkpoint(folder, after=1e9, named=False) as checkpoint:
            checkpoint.is_of(run)
        assert holds_checkpoint(folder) == stays


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    listener = Listener()
    with Checkpoint(tmp_path / "c", Journal(listener), resume=True, named=False) as checkpoint:
        assert checkpoint.once("state", lambda: 3, lambda value: ({"n": value}, {}), together) == 3
    assert ["nothing is kept in" in told for told in listener.told] == [True]


def test_another_run_is_told_apart(tmp_path: Path) -> None:
    interrupted(tmp_path, {"state": ({}, {})})
    with Checkpoint(tmp_path, resume=True) as checkpoint, pytest.raises(CheckpointError, match="seed was '1', is '2'"):
        checkpoint.is_of({**RUN, "seed": "2"})


def test_a_value_is_made_once(tmp_path: Path) -> None:
    made = itertools.count(1)

    def number(folder: Path, resume: bool) -> int:
        with contextlib.suppress(KeyboardInterrupt), Checkpoint(folder, resume=resume) as checkpoint:
            checkpoint.is_of(RUN)
            checkpoint.keep("part-1", {}, {}) if not resume else None
            found = checkpoint.once("n", lambda: next(made), lambda n: ({"n": n}, {}), lambda d, _: d["n"], "part-*")
            raise KeyboardInterrupt
        assert names(folder) == ["n.npz"], "the parts aren't needed any more"
        return int(found)

    assert [number(tmp_path, resume) for resume in (False, True, True)] == [1, 1, 1]


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    words = (
        "from domino_onnx.stages.checkpoints.checkpoint import Checkpoint\nfrom pathlib import Path\nimport sys, time\n"
    )
    words += "with Checkpoint(Path(sys.argv[1])) as c:\n    c.keep('state', {}, {})\n    print('in', flush=True)\n"
    words += "    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", words, tmp_path], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"in\n"
            for resume in (False, True):
                with pytest.raises(CheckpointError, match="is in use by another run"):
                    Checkpoint(tmp_path, resume=resume, named=False).__enter__()
        finally:
            other.kill()
    assert names(tmp_path) == [LOCK, "state.npz"]
    with Checkpoint(tmp_path, resume=True) as checkpoint:
        assert checkpoint.load("state", together) == ({}, {}), "a killed run's lock is no obstacle"


@pytest.mark.parametrize("damage", ["cut", "other", "pickle", "empty"])
def test_what_is_no_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    interrupted(tmp_path, {"state": ({}, {"a": np.zeros(1000)})})
    path = tmp_path / "state.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "other":
        np.savez(path, a=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, head=np.array([{"version": 1}], dtype=object))
    else:
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"state.npz is damaged, or no part of a checkpoint"):
        Checkpoint(tmp_path, resume=True).__enter__()


def test_any_changed_byte_is_named(tmp_path: Path) -> None:
    interrupted(tmp_path, {"state": ({"n": 1}, {"a": np.arange(40)})})
    path = tmp_path / "state.npz"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=r"state.npz"), Checkpoint(tmp_path, resume=True) as checkpoint:
            checkpoint.load("state", together)
    path.write_bytes(content)
    with Checkpoint(tmp_path, resume=True) as checkpoint:
        checkpoint.is_of(RUN)
        assert checkpoint.load("state", together) is not None


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\xff", "its head is not readable JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": 4, "run": {}, "document": []}', r"'document' is \[\]; it must be keys and values"),
        (b'{"version": 4, "run": {}}', "lacks the key 'document'"),
        (b'{"version": 4, "run": {}, "document": {}, "bfloat16": ["b"]}', "no array 'b' of 16 bits"),
        (b'{"version": 1, "run": {}, "document": {}}', "has the version 1, which is unknown; this program reads 4"),
    ],
)
def test_a_head_that_is_not_ours_is_refused(head: bytes, says: str, tmp_path: Path) -> None:
    with (tmp_path / "state.npz").open("wb") as stream:
        write_sealed(stream, [("head", np.frombuffer(head, np.uint8))])
    with Checkpoint(tmp_path, resume=True) as checkpoint, pytest.raises(CheckpointError, match=says) as error:
        checkpoint.load("state", together)
    assert "delete it, or run without --resume" in str(error.value)


def test_a_full_disk_is_told_once_and_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    listener = Listener()
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(tmp_path, Journal(listener)) as checkpoint:
        checkpoint.is_of(RUN)
        assert checkpoint.keep("state", {"step": 1}, {"a": np.ones(3)})
        with monkeypatch.context() as patched:
            patched.setattr(np.lib.format, "write_array", full)
            for step in (2, 3):
                assert not checkpoint.keep("state", {"step": step}, {"a": np.zeros(3)})
        raise KeyboardInterrupt
    assert len(listener.told) == 1
    assert "No space left" in listener.told[0]
    assert names(tmp_path) == ["state.npz"]
    with Checkpoint(tmp_path, resume=True) as checkpoint:
        checkpoint.is_of(RUN)
        saved = checkpoint.load("state", together)
    assert saved is not None
    assert saved[0] == {"step": 1}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "none" / "deep"):
        with pytest.raises(CheckpointError, match="can't make the folder"):
            Checkpoint(folder).__enter__()
        listener = Listener()
        with Checkpoint(folder, Journal(listener), named=False) as checkpoint:
            checkpoint.keep("state", {}, {})
            checkpoint.keep("state", {}, {})
        assert len(listener.told) == 1


def test_a_state_is_saved_less_often_where_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("domino_onnx.stages.checkpoints.training_state.time.monotonic", lambda: clock[0])
    with Checkpoint(tmp_path) as checkpoint:
        file = checkpoint.file("state", 30)
        monkeypatch.setattr(checkpoint, "keep", lambda *_: clock.__setitem__(0, clock[0] + 2))
        assert file.is_due
        file.save({}, {})
        dues = []
        for seconds in (31, 68, 2):
            clock[0] += seconds
            dues.append(file.is_due)
    assert dues == [False, False, True]


def test_what_is_not_needed_any_more_and_stays_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Checkpoint(tmp_path / "kept") as checkpoint:
        checkpoint.keep("part-1", {}, {})
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refused)
            assert checkpoint.once("whole", lambda: 7, lambda _: ({}, {}), lambda *_: 8, "part-*") == 7
        assert names(tmp_path / "kept") == [LOCK, "part-1.npz", "whole.npz"]

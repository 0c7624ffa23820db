"""A file appears whole or not at all, and what goes wrong while it is tidied up undoes nothing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from domino_onnx.errors import OutputError
from domino_onnx.files import NOTHING, Replacing, check_output, held, remove_leftovers, unfinished, whole_file


def test_an_interruption_as_the_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises KeyboardInterrupt as soon as the system has made the file, before anything has its name."""
    real = os.open

    def made_and_interrupted(*given: Any) -> int:
        os.close(real(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", made_and_interrupted)
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "out", NOTHING):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="there are no modes")
def test_what_is_unfinished_is_for_its_owner_alone(tmp_path: Path) -> None:
    with unfinished(tmp_path / "out") as path:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        path.unlink()


def test_a_lock_that_cannot_be_removed_undoes_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched, held(tmp_path / "lock"):
        patched.setattr(Path, "unlink", refused)
    with held(tmp_path / "lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_with_content_is_no_lock_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("mine")
    with held(path):
        pass
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 255, "模" * 84, "🧮" * 63])
def test_any_name_that_the_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    """255 bytes: names of temporary files must be no longer."""
    output = tmp_path / name
    try:
        output.touch()
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    with pytest.raises(KeyError), whole_file(output, Replacing(force=True)):
        raise KeyError
    with whole_file(output, Replacing(force=True)) as stream:
        stream.write(b"new")
    assert output.read_bytes() == b"new"


def test_what_a_killed_run_left_is_known_by_its_short_name(tmp_path: Path) -> None:
    output, other = tmp_path / ("模" * 84), tmp_path / ("型" * 84)
    with unfinished(output), unfinished(other) as stays:
        remove_leftovers(output)
        assert list(tmp_path.iterdir()) == [stays]


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_names_of_no_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="give another name"):
        check_output(tmp_path / name, [], NOTHING)

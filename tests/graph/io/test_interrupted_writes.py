"""A file is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from domino_onnx.errors import OutputError
from domino_onnx.files import NOTHING, check_output

from .writing import Make, external_model, prune, values


class TestInterruptedWrites:
    """The write fails at every point of the way, in ways that test_durable.py doesn't try."""

    def test_bytes_reach_the_disk_before_they_get_their_name(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        (tmp_path / "out").mkdir()
        flushed: set[int] = set()
        renamed: list[bool] = []
        fsync, replace, path_replace = os.fsync, os.replace, Path.replace

        def noting(descriptor: int) -> None:
            flushed.add(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        def moving(source: Any, target: Any) -> None:
            renamed.append(Path(source).stat().st_ino in flushed)
            replace(source, target)

        def path_moving(self: Path, target: Any) -> Path:
            renamed.append(self.stat().st_ino in flushed)
            return path_replace(self, target)

        monkeypatch.setattr(os, "fsync", noting)
        monkeypatch.setattr(os, "replace", moving)
        monkeypatch.setattr(Path, "replace", path_moving)
        prune(source, tmp_path / "out" / "out.onnx")
        assert len(renamed) >= 2
        assert all(renamed)

    def test_a_failed_write_leaves_no_orphan_data(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        (tmp_path / "out").mkdir()

        def broken(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", broken)
        with pytest.raises(OutputError, match="No space left"):
            prune(source, tmp_path / "out" / "out.onnx")
        assert not list((tmp_path / "out").iterdir())

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
    def test_an_interruption_leaves_no_debris(
        self, stop: type[BaseException], make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        folder = tmp_path / "out"
        folder.mkdir()

        def interrupted(descriptor: int) -> None:
            raise stop

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises((stop, OutputError)):
            prune(source, folder / "out.onnx")
        assert not list(folder.iterdir())

    def test_a_read_only_folder_is_refused_before_any_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(OutputError, match="can't be written to"):
            check_output(tmp_path / "out.onnx", (tmp_path / "in.onnx",), NOTHING)

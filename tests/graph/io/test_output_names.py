"""Under which names a file is written: never that of its input, and one that exists only with force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest

from domino_onnx.errors import OutputError
from domino_onnx.files import Replacing, check_output

from .writing import Make, node, prune, values


class TestOutputNames:
    def simple(self, make_model: Make, save: Any, name: str = "model.onnx") -> Path:
        model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": values(16, 4)})
        path: Path = save(model, name)
        return path

    def test_the_input_is_never_overwritten(
        self, make_model: Make, save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = self.simple(make_model, save)
        before = source.read_bytes()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link.onnx").symlink_to(source)
        os.link(source, tmp_path / "hard.onnx")
        (tmp_path / "folder").mkdir()
        (tmp_path / "around").symlink_to(tmp_path)
        for spelling in (
            source,
            Path("model.onnx"),
            Path("folder/../model.onnx"),
            Path("link.onnx"),
            Path("hard.onnx"),
            Path("around/model.onnx"),
        ):
            for force in (False, True):
                with pytest.raises(OutputError, match="input itself"):
                    check_output(spelling, (source,), Replacing(force=force))
                with pytest.raises(OutputError):
                    prune(source, spelling, force=force)
        assert source.read_bytes() == before

    def test_what_exists_stays_without_force(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        output = tmp_path / "out.onnx"
        output.write_bytes(b"precious")
        with pytest.raises(OutputError, match="--force"):
            prune(source, output)
        assert output.read_bytes() == b"precious"
        prune(source, output, force=True)
        onnx.checker.check_model(onnx.load(output))

    def test_folders_and_missing_folders_are_refused(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        with pytest.raises(OutputError, match="is a folder"):
            prune(source, tmp_path, force=True)
        with pytest.raises(OutputError, match="doesn't exist"):
            prune(source, tmp_path / "no" / "out.onnx")

    @pytest.mark.parametrize(
        "name", ["[a-z]*?.onnx", "-o.onnx", "with space.onnx", "ünïcode.onnx", "x" * 240 + ".onnx", "out"]
    )
    def test_odd_names_work_and_leave_nothing_else(
        self, name: str, make_model: Make, save: Any, tmp_path: Path
    ) -> None:
        source = self.simple(make_model, save, "in/model.onnx")
        folder = tmp_path / "out"
        folder.mkdir()
        prune(source, folder / name)
        prune(source, folder / name, force=True)
        assert [path.name for path in folder.iterdir()] == [name]

    def test_the_written_file_has_ordinary_permissions(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        prune(source, tmp_path / "out.onnx")
        (tmp_path / "probe").write_bytes(b"")
        assert (tmp_path / "out.onnx").stat().st_mode == (tmp_path / "probe").stat().st_mode

    def test_leftovers_of_a_killed_run_are_swept_and_only_those(
        self, make_model: Make, save: Any, tmp_path: Path
    ) -> None:
        source = self.simple(make_model, save)
        (tmp_path / ".out.onnx.abcdef.domino-onnx.tmp").write_bytes(b"left by a killed run")
        (tmp_path / ".other.onnx.abcdef.domino-onnx.tmp").write_bytes(b"another output's")
        prune(source, tmp_path / "out.onnx")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"model.onnx", "out.onnx", ".other.onnx.abcdef.domino-onnx.tmp"}

"""What an interrupted command says of what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_onnx.cli.interrupting import resumable


def test_an_early_interruption_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, resumable(tmp_path / "out.onnx.partial"):
        raise KeyboardInterrupt
    assert caught.value.__notes__ == ["nothing is kept yet: the same command starts at the beginning"]


def test_another_error_says_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, resumable(tmp_path / "out.onnx.partial"):
        raise OSError("full")
    assert not hasattr(caught.value, "__notes__")

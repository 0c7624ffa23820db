"""What an interrupted command says of what is kept."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from domino_onnx.cli.interrupting import resumable
from domino_onnx.stages.finetuning.stopping import stopping


@pytest.mark.parametrize(
    ("keeps", "said"),
    [
        (
            True,
            "asked to stop: this step comes to its end first, and what was found is kept. Ask again to stop at once",
        ),
        (False, "asked to stop: this step comes to its end first. Ask again to stop at once"),
    ],
)
def test_the_first_request_promises_only_what_is_kept(*, keeps: bool, said: str) -> None:
    told: list[str] = []
    with stopping(told.append, lambda: keeps) as stopped:
        signal.raise_signal(signal.SIGINT)
        assert (stopped(), told) == (True, [said])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_early_interruption_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, resumable(tmp_path / "out.onnx.partial"):
        raise KeyboardInterrupt
    assert caught.value.__notes__ == ["nothing is kept yet: the same command starts at the beginning"]


def test_another_error_says_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, resumable(tmp_path / "out.onnx.partial"):
        raise OSError("full")
    assert not hasattr(caught.value, "__notes__")


def test_a_program_that_is_found_by_its_name_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where the first word lacks .exe: what was kept is told, in place of a file that is missing."""
    program = tmp_path / "domino-onnx"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["domino-onnx", "compress", "model.onnx"])
    monkeypatch.setattr("domino_onnx.stages.holds_checkpoint", lambda _: True)
    with pytest.raises(KeyboardInterrupt) as caught, resumable(tmp_path / "out.onnx.partial"):
        raise KeyboardInterrupt
    assert caught.value.__notes__[0].endswith("\n\n  domino-onnx compress model.onnx --resume\n")

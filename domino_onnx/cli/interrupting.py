"""What happens when a run is interrupted: it ends as after Ctrl-C, and names the command that goes on from there."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domino_onnx.errors import BudgetError, CheckpointError, OptionError

__all__ = ["ends_like_ctrl_c", "resumable"]

_FINAL = (BudgetError, CheckpointError, OptionError)
"""The same command with --resume comes to the same."""


@contextlib.contextmanager
def ends_like_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM, and SIGHUP where it isn't ignored, interrupt as SIGINT does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Whatever ends the block, its error says how to go on, if there is something to go on from.

    Parameters
    ----------
    folder
        Where the run keeps what it finds.
    """
    try:
        yield
    except _FINAL:
        raise
    except BaseException as error:
        from domino_onnx.stages import holds_checkpoint

        if holds_checkpoint(folder):
            error.add_note(f"what was found is kept in {folder}. Go on from there with\n{_going_on()}")
        elif isinstance(error, KeyboardInterrupt):
            error.add_note("nothing is kept yet: the same command starts at the beginning")
        raise


def _going_on() -> str:
    """The command line of this process with --resume as well, quoted for a shell, on a line of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "the command that started all processes, and --resume at its end"
    words = [*_program(), *sys.argv[1:]]
    end = words.index("--") if "--" in words else len(words)
    if "--resume" not in words[:end]:
        words.insert(end, "--resume")
    return f"\n  {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}\n"


def _program() -> list[str]:
    """How the program was started: by its name, where that leads to it."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return [sys.executable, "-m", "domino_onnx"]
    found = shutil.which(started.name)
    leads_there = found is not None and (not started.exists() or Path(found).samefile(started))
    return [started.name if leads_there else str(started)]  # Windows leaves .exe out

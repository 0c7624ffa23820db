"""Commands run as a user's shell runs them, each in a process of its own, and what is wrong with how they ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnxruntime

from domino_onnx.cli import main

__all__ = ["LIMIT", "Ran", "Running", "complaint", "loads", "run"]

LIMIT = 30.0
"""Seconds after which a command hangs."""
_MEMORY = 8 << 30
"""Bytes of address space."""
_CODES = (0, 1, 2, 3)
_BUG = "this is a bug in domino-onnx"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended: `code` is minus the signal that ended it, None if it had to be killed after the limit."""

    code: int | None
    out: str
    err: str
    seconds: float


class Running:
    """A command that was started: `domino-onnx` with these words, forked from this process, which has imported all.

    `memory` are the bytes that it may have for itself. What lies in files that it only reads can be mapped besides.
    """

    def __init__(self, *words: object, memory: int | None = None) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  (closed by `ended`)
        self._start = time.monotonic()
        self._child = os.fork()
        if not self._child:
            _be_a_command([str(word) for word in words], self._out.fileno(), self._err.fileno(), memory)

    def ended(self, limit: float = LIMIT) -> Ran:
        """Wait for its end, until so many seconds after its start."""
        code = _waited(self._child, self._start + limit)
        seconds = time.monotonic() - self._start
        with self._out, self._err:
            out, err = (_text(file.fileno()) for file in (self._out, self._err))
        return Ran(code=code, out=out, err=err, seconds=seconds)


def run(*words: object, limit: float = LIMIT, memory: int | None = None) -> Ran:
    """Run a command to its end."""
    return Running(*words, memory=memory).ended(limit)


def loads(path: Path, limit: float = 60.0) -> bool:
    """Whether ONNX Runtime loads a file, in a process of its own."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            code = 0
        finally:
            os._exit(code)
    return _waited(child, time.monotonic() + limit) == 0


def complaint(ran: Ran) -> str | None:
    """What no input may lead to; None if the command ended as documented. An internal error is none."""
    if ran.code is None:
        return f"hangs: more than {ran.seconds:.0f} s"
    if ran.code not in _CODES:
        return f"ended by {signal.Signals(-ran.code).name}" if ran.code < 0 else f"exit code {ran.code}"
    if "Traceback (most recent call last)" in ran.err or _BUG in ran.err:
        return f"internal error: {ran.err.strip()[-200:]}"
    return f"exit code {ran.code} without a word" if ran.code and not (ran.err + ran.out).strip() else None


def _be_a_command(words: Sequence[str], out: int, err: int, memory: int | None) -> None:
    """In the forked process: become the leader of a group, and never come back."""
    code = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
        sys.argv = ["domino-onnx", *words]
        code = _code_of_main()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _code_of_main() -> int:
    import traceback

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (told, as the interpreter would)
        traceback.print_exc()
        return 1
    return 0


def _waited(child: int, until: float) -> int | None:
    """The exit code; afterwards nothing of the group is left."""
    pause = 0.002
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code: int | None = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > until:
            code = None
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


def _text(file: int) -> str:
    return b"".join(_parts(file)).decode("utf-8", "replace")


def _parts(file: int) -> Iterator[bytes]:
    place = 0
    while part := os.pread(file, 1 << 20, place):
        place += len(part)
        yield part

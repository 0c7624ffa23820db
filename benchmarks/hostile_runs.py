"""Commands run as a user's shell runs them, each in a process of its own, and what is wrong with how they ended."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime

import domino_onnx
from domino_onnx.cli import main

__all__ = ["LIMIT", "Ran", "Running", "complaint", "import_all", "loads", "run"]

LIMIT = 30.0
"""Seconds after which a command hangs."""
_MEMORY = 8 << 30
"""Bytes of address space."""
_FILES = 256
"""More than a command has open."""
_kept: list[Any] = []
_CODES = (0, 1, 2, 3)
_INTERRUPTED = 130
_BUG = "this is a bug in domino-onnx"
_NOT_IMPORTED = ("domino_onnx.__main__", "domino_onnx.bridge", "domino_onnx.finetuning")
"""What isn't imported beforehand: the last two import torch, which few commands need."""


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
    With `tracing`, words for strace, the command begins once that is attached. With `forks`, the Python processes that
    it starts are forked as well.
    """

    def __init__(
        self, *words: object, memory: int | None = None, tracing: Sequence[str] = (), forks: bool = False
    ) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  (closed by `ended`)
        self._start = time.monotonic()
        self._tracer: subprocess.Popen[bytes] | None = None
        may_begin, begin = os.pipe()
        self.process = os.fork()
        if not self.process:
            os.close(begin)
            os.read(may_begin, 1)
            if forks:
                subprocess.Popen = _Forked  # type: ignore[misc]
            _be_a_command([str(word) for word in words], self._out.fileno(), self._err.fileno(), memory)
        os.close(may_begin)
        if tracing:
            self._tracer = _attached(self.process, tracing)
        os.close(begin)

    def ended(self, limit: float = LIMIT) -> Ran:
        """Wait for its end, until so many seconds after its start."""
        code = _waited(self.process, self._start + limit)
        seconds = time.monotonic() - self._start
        if self._tracer is not None:
            self._tracer.wait(LIMIT)
        with self._out, self._err:
            out, err = (_text(file.fileno()) for file in (self._out, self._err))
        return Ran(code=code, out=out, err=err, seconds=seconds)


def import_all(package: ModuleType = domino_onnx) -> None:
    """Import what commands import; they are forked, and find it there."""
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name not in _NOT_IMPORTED:
            module = importlib.import_module(found.name)
            if found.ispkg:
                import_all(module)


def run(
    *words: object,
    limit: float = LIMIT,
    memory: int | None = None,
    tracing: Sequence[str] = (),
    forks: bool = False,
) -> Ran:
    """Run a command to its end."""
    return Running(*words, memory=memory, tracing=tracing, forks=forks).ended(limit)


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


def complaint(ran: Ran, *, interrupted: bool = False) -> str | None:
    """What no input may lead to; None if the command ended as documented. An internal error is none."""
    if ran.code is None:
        return f"hangs: more than {ran.seconds:.0f} s"
    if ran.code not in _CODES and not (interrupted and ran.code == _INTERRUPTED):
        return f"ended by {signal.Signals(-ran.code).name}" if ran.code < 0 else f"exit code {ran.code}"
    if "Traceback (most recent call last)" in ran.err or _BUG in ran.err:
        return f"internal error: {ran.err.strip()[-200:]}"
    return f"exit code {ran.code} without a word" if ran.code and not (ran.err + ran.out).strip() else None


class _Forked(subprocess.Popen[Any]):
    """A Python process for some code, forked from this one, which has imported what the code wants."""

    def _execute_child(self, args: Any, *more: Any) -> None:
        if not isinstance(args, list) or args[:3] != [sys.executable, "-I", "-c"]:
            super()._execute_child(args, *more)  # type: ignore[misc]
            return
        given, pipes = (more[9], more[12], more[14]), more[9:15]
        self.pid = os.fork()
        if not self.pid:
            _be_python(args[3], given)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _be_python(code: str, streams: Sequence[int]) -> None:
    """In the forked process: run the code with these files as stdin, stdout and stderr, -1 for those of before."""
    end = 1
    try:
        for number, stream in enumerate(streams):
            if stream != -1:
                os.dup2(stream, number)
        os.closerange(3, _FILES)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _kept.extend((sys.stdin, sys.stdout))  # whose end would close the new ones
        sys.stdin, sys.stdout = os.fdopen(0, "r", encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        end = 0
    finally:
        os._exit(end)


def _be_a_command(words: Sequence[str], out: int, err: int, memory: int | None) -> None:
    """In the forked process: become the leader of a group, and never come back."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
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


def _attached(process: int, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A strace that follows a process."""
    tracer = subprocess.Popen(["strace", *words, "-p", str(process)], stdin=subprocess.DEVNULL)
    status = Path(f"/proc/{process}/status")
    while "\nTracerPid:\t0\n" in status.read_text(encoding="ascii", errors="replace"):
        if tracer.poll() is not None:
            raise RuntimeError(f"strace ended with {tracer.returncode}: may it attach to other processes here?")
        time.sleep(0.001)
    return tracer


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

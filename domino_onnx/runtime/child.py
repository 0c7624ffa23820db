"""A process that opens and runs models, with a limit of memory and of time, and what became of it in words."""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domino_onnx.errors import (
    CrashError,
    DependencyError,
    DeviceMemoryError,
    DominoError,
    ModelError,
    ProcessError,
    RunError,
)
from domino_onnx.isolated import isolated
from domino_onnx.runtime.cgroups import text_of
from domino_onnx.runtime.memory import available_memory
from domino_onnx.runtime.messages import receive, send
from domino_onnx.runtime.session import OR_SLOW

__all__ = ["Child"]

_SHARE = 0.75
"""Of the memory that is available: what a model may take, besides what it has mapped from its files."""
_LOOKS = 0.05
"""Seconds between two looks at what the child takes."""
_CODE = "from domino_onnx.runtime.guest import serve; serve({parent})"
_SECONDS_TO_CLOSE = 20.0
_ERRORS = {kind.__name__: kind for kind in (DependencyError, DeviceMemoryError, ModelError, RunError)}
_KILLED = getattr(signal, "SIGKILL", 9)


class Child:
    """A process that waits for messages. One that has nothing to do is kept for the next session."""

    _idle: list[Child] = []  # noqa: RUF012  (of the class, on purpose)
    _all: weakref.WeakSet[Child] = weakref.WeakSet()  # noqa: RUF012  (likewise)

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                isolated(_CODE.format(parent=os.getpid())),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ProcessError(f"no process can be started to run the model in: {error}") from None
        self._all.add(self)
        self._parent = os.getpid()
        self._most: int | None = None
        self._over: DominoError | None = None
        self.was_too_slow = False

    @classmethod
    def take(cls) -> Child:
        """One that has nothing to do, or a new one."""
        while cls._idle:
            child = cls._idle.pop()
            if child._parent == os.getpid() and child._process.poll() is None:
                return child
            child.end()
        return cls()

    @classmethod
    def living(cls) -> list[int]:
        """Ids of this process's own that haven't ended."""
        own = [child for child in cls._all if child._parent == os.getpid()]
        return [child._process.pid for child in own if child._process.returncode is None]

    def ask(self, request: Mapping[str, Any], seconds: float, what: str, name: str) -> Any:
        """The answer to a message; whatever goes wrong, the child is ended, unless it says itself what that was."""
        if self._over is not None:
            raise copy.copy(self._over)
        if request["do"] == "open":
            room = available_memory()
            self._most = None if room is None else self._taken() + int(_SHARE * room)
        ended_for: list[str] = []
        try:
            with self._watched(seconds, ended_for):
                send(self._stdin, request)
                answer = receive(self._stdout)
        except (EOFError, OSError, ValueError):
            self._over = self._ended(ended_for, what, name)
            raise copy.copy(self._over) from None
        except BaseException:
            self.end()
            raise
        if "error" in answer:
            message = str(answer["message"])
            raise _ERRORS[answer["error"]](message.replace(str(Path(name).absolute()), name))
        return answer

    def give_back(self) -> None:
        """Keep the process for another session, without the model; end it if it doesn't answer."""
        if self._process.poll() is not None:
            self.end()
            return
        try:
            self.ask({"do": "close"}, _SECONDS_TO_CLOSE, "to close the model", "it")
            self._idle.append(self)
        except DominoError:
            self.end()

    def end(self) -> None:
        """End the process, whatever it is doing. A forked process leaves it to the one that started it."""
        if self._parent != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout

    @contextlib.contextmanager
    def _watched(self, seconds: float, ended_for: list[str]) -> Iterator[None]:
        """Within the block a thread ends the child when it takes too long, or too much memory, and notes which."""
        done, until = threading.Event(), time.monotonic() + seconds

        def watch() -> None:
            while not done.wait(_LOOKS):
                if self._most is not None and self._taken() > self._most:
                    ended_for.append(f"takes more than {self._most / 1e9:.1f} GB of memory")
                elif time.monotonic() > until:
                    ended_for.append(f"takes more than {seconds:g} s")
                else:
                    continue
                self._process.kill()
                return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _taken(self) -> int:
        """Bytes that the child has for itself: what lies in mapped files can be read again, and doesn't count."""
        pages = text_of(Path(f"/proc/{self._process.pid}/statm")).split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 2 else 0

    def _ended(self, ended_for: list[str], what: str, name: str) -> ModelError | ProcessError:
        """Why the child is no more, in words."""
        code: int | None
        try:
            code = self._process.wait(_SECONDS_TO_CLOSE)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        if ended_for:
            if "memory" in ended_for[0]:
                return ModelError(f"ONNX Runtime {ended_for[0]} {what}. Take smaller batches")
            self.was_too_slow = True
            return ModelError(f"ONNX Runtime {ended_for[0]} {what}: {OR_SLOW}")
        if code == -_KILLED:
            return ProcessError(
                f"the process that ran {name} was killed, most likely because the machine's memory ran out: end other "
                "programs, and run again"
            )
        return CrashError(f"ONNX Runtime crashes on {name} ({_ending(code)})")


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "it answers no more"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@atexit.register
def _end_idle() -> None:
    while Child._idle:
        Child._idle.pop().end()

"""The process that infers shapes, which a hostile file may crash or stall. It waits a while for the next model."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading

from domino_onnx.errors import ProcessError
from domino_onnx.isolated import isolated

__all__ = ["inferred"]

_SECONDS = 30
_MEMORY = 4 << 30
_LENGTH = 8
_IDLE_SECONDS = 10
"""How long a child waits for another model. Starting one takes a quarter of a second, which is most of the work."""
_NO_ONNX = 90
"""What a child ends with that can't import onnx."""
_KILLED = getattr(signal, "SIGKILL", 9)
_CHILD = f"""
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
try:
    from onnx import ModelProto, shape_inference
except ImportError:
    os._exit({_NO_ONNX})
answers = os.fdopen(os.dup(1), "wb")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
while True:
    idle = threading.Timer({_IDLE_SECONDS}, os._exit, [0])
    idle.daemon = True
    idle.start()
    length = sys.stdin.buffer.read({_LENGTH})
    idle.cancel()
    if len(length) < {_LENGTH}:
        break
    model = sys.stdin.buffer.read(int.from_bytes(length, "little"))
    try:
        found = shape_inference.infer_shapes(ModelProto.FromString(model), data_prop=True).SerializeToString()
    except Exception:
        found = b""
    answers.write(len(found).to_bytes({_LENGTH}, "little") + found)
    answers.flush()
"""


def inferred(model: bytes) -> bytes:
    """A serialised model with what inference finds; empty if it fails, crashes, or takes too long or too much memory.

    Raises
    ------
    ProcessError
        If the child process can't be started, or the system killed it. It limits its own memory, so that the model
        isn't the reason.
    """
    while _idle:
        child = _idle.pop()
        if child.is_there:
            with contextlib.suppress(_GoneError):
                return child.infer(model)
        else:
            child.end()
    try:
        return _Child().infer(model)
    except _GoneError:
        return b""


class _GoneError(Exception):
    """The child ended without an answer, by itself."""


class _Child:
    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                isolated(_CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise ProcessError(f"no process can be started to infer shapes in: {error}") from None
        self._parent = os.getpid()

    @property
    def is_there(self) -> bool:
        """Whether it can be asked: it waits, and for this process."""
        return self._parent == os.getpid() and self._process.poll() is None

    def infer(self, model: bytes) -> bytes:
        """As the function; _GoneError where this process had nothing more to do."""
        late = threading.Timer(_SECONDS, self._process.kill)
        late.daemon = True
        late.start()
        try:
            answer = self._asked(model)
            code = self._process.wait() if answer is None else 0
        except BaseException:
            self.end()
            raise
        finally:
            in_time = late.is_alive()
            late.cancel()
        if answer is not None:
            _idle.append(self)
            return answer
        self.end()
        if code == 0:
            raise _GoneError
        if code == _NO_ONNX:
            raise ProcessError(
                f"the process that infers shapes can't import onnx: `{sys.executable} -c 'import onnx'` may say why"
            )
        if code == -_KILLED and in_time:
            raise ProcessError(
                "the process that infers shapes was killed, most likely because the machine's memory ran out: end "
                "other programs, and run again"
            )
        return b""

    def _asked(self, model: bytes) -> bytes | None:
        """What it answers; None if it ends instead."""
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        try:
            target.write(len(model).to_bytes(_LENGTH, "little") + model)
            target.flush()
        except OSError:
            return None
        length = source.read(_LENGTH)
        answer = source.read(int.from_bytes(length, "little"))
        return answer if len(length) == _LENGTH and len(answer) == int.from_bytes(length, "little") else None

    def end(self) -> None:
        """End the process, whatever it is doing. A forked process leaves it to the one that started it."""
        if self._parent != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


_idle: list[_Child] = []


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()

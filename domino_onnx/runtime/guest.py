"""What a child process does for `ChildSession`: it opens one model after the other in ONNX Runtime, and runs them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from domino_onnx.errors import DependencyError, DeviceMemoryError, ModelError
from domino_onnx.runtime.heap import give_back_memory
from domino_onnx.runtime.messages import receive, send
from domino_onnx.runtime.session import Session

__all__ = ["serve"]


def serve(parent: int) -> None:
    """Answer messages until the parent has none. Native code may print what it likes: answers have a pipe of their own.

    Parameters
    ----------
    parent
        The process that asks. This one ends with it, whatever it is doing then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415  (not on Windows)

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    session: Session | None = None
    while True:
        try:
            request = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if request["do"] == "run":
                assert session is not None
                answer: Any = {"outputs": session.run(request["inputs"])}
            else:
                session = None
                give_back_memory()
                session, answer = _opened(request)
        except (DependencyError, DeviceMemoryError, ModelError) as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            answer = {"error": "ModelError", "message": "memory ran out"}
        send(answers, answer)


def _opened(request: Any) -> tuple[Session | None, Any]:
    """A session, and what is to be known of it; neither where none is asked for."""
    if request["do"] != "open":
        return None, {}
    model = request["model"]
    session = Session(
        Path(model) if isinstance(model, str) else model.tobytes(),
        device=request["device"],
        threads=request["threads"],
        lean=request["lean"],
        timed=True,  # the parent keeps the time
    )
    return session, {"provider": session.provider, "inputs": session.inputs, "outputs": session.output_types}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

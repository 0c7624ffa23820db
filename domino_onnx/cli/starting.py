"""The first second: Ctrl-C while Python imports the library ends the program at once, and quietly.

An interruption that is raised as an exception can get lost then: Python ignores those of its import system's callbacks.
Nothing has been begun yet, so that nothing needs to be tidied up. This file imports next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["begun", "starting"]

_INTERRUPTED = 130


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Ctrl-C leaves at once, until `begun` is called or the block ends."""
    is_ours = threading.current_thread() is threading.main_thread()
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        begun()


def begun() -> None:
    """From now on Ctrl-C is an exception again, which tidies up."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)

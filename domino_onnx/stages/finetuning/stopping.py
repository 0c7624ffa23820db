"""How a training is asked to stop: SIGINT and SIGTERM wait for the end of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["stopping"]


@contextlib.contextmanager
def stopping(tell: Callable[[str], None], keeps: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM only make the function say yes. The second one interrupts at once.

    Parameters
    ----------
    tell
        Hears what is being waited for.
    keeps
        Whether what was found so far is going to be kept.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def ask(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        with contextlib.suppress(RuntimeError):  # the signal came while something else was being written
            kept = ", and what was found is kept" if keeps() else ""
            tell(f"asked to stop: this step comes to its end first{kept}. Ask again to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Native work that Ctrl-C and a deadline end: it is done in another thread than that which waits for it."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["interruptible"]

_T = TypeVar("_T")
_LOOKS = 0.5
"""Seconds between two looks at the clock; Windows hands on Ctrl-C only then."""
_worker_of: dict[int, queue.SimpleQueue[Any]] = {}
"""What the worker of a process is to do. A forked process has none yet."""


def interruptible(work: Callable[[], _T], end: Callable[[], None], seconds: float) -> _T:
    """What `work` returns or raises.

    The main thread sees no signal while it is inside native code. So another thread works for it, and the signal
    interrupts its waiting.

    Parameters
    ----------
    end
        Makes `work` end soon; called after `seconds`, and when the waiting is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            return work()
        finally:
            timer.cancel()
    task = _Task(work)
    _worker().put(task)
    until, ended = time.monotonic() + seconds, False
    try:
        while not task.done.wait(_LOOKS):
            if not ended and time.monotonic() > until:
                ended = True
                end()
    except BaseException:  # an interruption: what it interrupts must not go on during what comes next
        end()
        task.done.wait()
        raise
    return task.result()


class _Task(Generic[_T]):
    def __init__(self, work: Callable[[], _T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._value: list[_T] = []
        self._error: BaseException | None = None

    def perform(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            self._error = error
        self.done.set()

    def result(self) -> _T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback leads here
        return self._value.pop()


def _worker() -> queue.SimpleQueue[Any]:
    process = os.getpid()
    if process not in _worker_of:
        _worker_of[process] = queue.SimpleQueue()
        threading.Thread(target=_perform, args=(_worker_of[process],), daemon=True).start()
    return _worker_of[process]


def _perform(tasks: queue.SimpleQueue[Any]) -> None:
    while True:
        tasks.get().perform()

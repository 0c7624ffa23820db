"""The journal of a run: how long each stage took, how far it is, and what the user should know."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

__all__ = ["Journal", "Observer", "peak_rss_bytes"]

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Hears of progress. `compress` and the other functions are silent without one."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the stage is."""

    def warn(self, message: str) -> None:
        """Something the user should know, that doesn't stop the work."""


class Journal:
    """Seconds, memory and warnings of one run, passed on to an observer as they come."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, int] = {}
        self._warnings: list[str] = []

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of each stage so far, the sum where it ran several times."""
        return MappingProxyType(dict(self._seconds))

    @property
    def peaks(self) -> Mapping[str, int]:
        """Bytes: the most memory the process had had by the end of each stage."""
        return MappingProxyType(dict(self._peaks))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning once, in order."""
        return tuple(self._warnings)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell the observer, and keep the time and the memory."""
        if self._observer is not None:
            self._observer.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
            peak = peak_rss_bytes()
            if peak is not None:
                self._peaks[name] = peak

    def progress(self, done: float, total: float, text: str) -> None:
        """Tell the observer how far the stage is."""
        if self._observer is not None:
            self._observer.progress(done, total, text)

    def warn(self, message: str) -> None:
        """Tell the user something; each message once."""
        if message not in self._warnings:
            self._warnings.append(message)
            _log.info("%s", message)
            if self._observer is not None:
                self._observer.warn(message)

    def resume(self, seconds: Mapping[str, float], peaks: Mapping[str, int], warnings: tuple[str, ...]) -> None:
        """Take over what the interrupted run had in its journal."""
        self._seconds |= seconds
        self._peaks |= peaks
        for warning in warnings:
            self.warn(warning)


def peak_rss_bytes() -> int | None:
    """The most memory this process has had resident; None on systems that don't say.

    Linux keeps it for the program (VmHWM). What getrusage says there includes the peak of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii", errors="replace"))
        if found is not None:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""The journal of a run: how long each stage took, how far the run is, and what the user should know."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from domino_onnx.forecast import Forecast, Remaining

__all__ = ["Journal", "Observer"]

_log = logging.getLogger(__name__)


class Observer(Protocol):
    """Hears of progress. `compress` and the other functions are silent without one."""

    def expect(self, forecast: Forecast) -> None:
        """What the run is going to cost, before the work begins; not called where that isn't known."""

    def stage(self, name: str) -> None:
        """A stage begins, or goes on after one inside it."""

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the stage is."""

    def left(self, seconds: float) -> None:
        """How long the rest of the run is going to take from now on."""

    def note(self, text: str) -> None:
        """What the run has found out on the way."""

    def warn(self, message: str) -> None:
        """Something the user should know, that doesn't stop the work."""


class Journal:
    """Seconds, memory and warnings of one run, passed on to an observer as they come."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._began = time.monotonic()
        self._earlier = 0.0
        """Seconds that the interrupted run took, as far as it was kept."""
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, int] = {}
        self._warnings: list[str] = []
        self._inside: list[float] = []
        """Of each stage that is going on, the outer first: seconds of the stages inside it."""
        self._names: list[str] = []
        """Of the same stages."""
        self._remaining: Remaining | None = None
        self._forecast: Forecast | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def whole(self) -> float:
        """Seconds of the run so far with all between its stages, and the stages of the run that it goes on from."""
        return self._earlier + self.elapsed

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of each stage so far, the sum where it ran several times, without the stages inside it."""
        return MappingProxyType(dict(self._seconds))

    @property
    def peaks(self) -> Mapping[str, int]:
        """Bytes: the most memory that one process of the run had had by the end of each stage."""
        return MappingProxyType(dict(self._peaks))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning once, in order."""
        return tuple(self._warnings)

    @property
    def forecast(self) -> Forecast | None:
        """What the run was expected to cost; None where that wasn't known."""
        return self._forecast

    def expect(self, forecast: Forecast) -> None:
        """Tell the observer what the run is going to cost, and from now on how much of it is left."""
        self._forecast, self._remaining = forecast, Remaining(forecast)
        if self._observer is not None:
            self._observer.expect(forecast)

    def correct(self, name: str, runs: float) -> None:
        """It is known by now that a stage runs more often than expected, or less often."""
        if self._remaining is not None:
            self._remaining.correct(name, runs)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell the observer, also when it goes on with the stage around; keep the time and the memory."""
        start = time.perf_counter()
        if self._remaining is not None:
            self._remaining.begin(name, start)
        self._tell_left(start)
        if self._observer is not None:
            self._observer.stage(name)
        self._inside.append(0.0)
        self._names.append(name)
        try:
            yield
        finally:
            now = time.perf_counter()
            whole = now - start
            own = whole - self._inside.pop()
            self._names.pop()
            self._seconds[name] = self._seconds.get(name, 0.0) + own
            if self._inside:
                self._inside[-1] += whole
            if self._remaining is not None:
                self._remaining.end(now)
            from domino_onnx.runtime import peak_memory

            peak = peak_memory()
            if peak is not None:
                self._peaks[name] = peak
        if self._names and self._observer is not None:
            self._observer.stage(self._names[-1])

    def progress(self, done: float, total: float, text: str) -> None:
        """Tell the observer how far the stage is."""
        now = time.perf_counter()
        if self._remaining is not None:
            self._remaining.advance(done, total, now)
        if self._observer is not None:
            self._observer.progress(done, total, text)
        self._tell_left(now)

    def note(self, text: str) -> None:
        """Tell the observer what was found out."""
        _log.info("%s", text)
        if self._observer is not None:
            self._observer.note(text)

    def warn(self, message: str, because: object = None) -> None:
        """Tell the user something, and the reason; each message once, and each reason once."""
        if because is not None:
            known = any(said.endswith(f": {because}") for said in self._warnings)
            message += ", for the reason given above" if known else f": {because}"
        if message not in self._warnings:
            self._warnings.append(message)
            _log.info("%s", message)
            if self._observer is not None:
                self._observer.warn(message)

    def tell(self, message: str) -> None:
        """Tell the user something about this attempt that is no part of the run's result."""
        _log.info("%s", message)
        if self._observer is not None:
            self._observer.warn(message)

    def resume(self, seconds: Mapping[str, float], peaks: Mapping[str, int], warnings: tuple[str, ...]) -> None:
        """Take over what the interrupted run had in its journal."""
        self._earlier = sum(seconds.values())
        self._seconds |= seconds
        self._peaks |= peaks
        for warning in warnings:
            self.warn(warning)

    def _tell_left(self, now: float) -> None:
        if self._observer is not None and self._remaining is not None:
            self._observer.left(self._remaining.seconds(now))

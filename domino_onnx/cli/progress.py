"""How a run is drawn on the way: one live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from domino_onnx.forecast import LONG, Forecast
from domino_onnx.report.forecast import TITLES, clock, forecast_lines, space_line
from domino_onnx.report.text import printable

__all__ = ["LineObserver", "LiveObserver", "QuietObserver"]

_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class QuietObserver:
    """Tells warnings alone."""

    def expect(self, forecast: Forecast) -> None:
        """Nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""

    def progress(self, done: float, total: float, text: str) -> None:
        """Nothing."""

    def left(self, seconds: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """One line."""
        self.line(f"warning: {printable(message, 1000)}", style="yellow")

    def line(self, text: str, style: str = "") -> None:
        """One line on stderr."""
        click.echo(text, err=True)


class _Watching(QuietObserver):
    """Keeps what is known of a run, and tells more of it as soon as it is a long one.

    What a run of a few seconds finds out on the way is in its result too.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._expected_long = False
        self._held: list[str] = []
        self._stage = self._text = ""
        self._end: float | None = None

    def expect(self, forecast: Forecast) -> None:
        """What a long run is going to cost, and any that takes more memory than it may."""
        self._expected_long = forecast.is_long
        if forecast.is_long:
            for line in forecast_lines(forecast):
                self.tell(line)
        elif forecast.is_over_limit:
            self.warn(space_line(forecast))

    def stage(self, name: str) -> None:
        """What is being done."""
        self._stage, self._text = TITLES.get(name, name), ""

    def progress(self, done: float, total: float, text: str) -> None:
        """Where in the stage the run is."""
        self._text = text

    def left(self, seconds: float) -> None:
        """When the run is going to end."""
        self._end = self._now() + seconds

    def note(self, text: str) -> None:
        """A line, kept until the run is known to be a long one."""
        self.tell(text)

    def tell(self, text: str) -> None:
        """Print a line, and those that were kept; or keep it while the run may be a short one."""
        self._held.append(text)
        if self.is_long:
            held, self._held = self._held, []
            for line in held:
                self.line(printable(line, 300))

    @property
    def is_long(self) -> bool:
        """Whether the run is a long one, or was expected to be one."""
        return self._expected_long or self._now() - self._began >= LONG

    @property
    def doing(self) -> str:
        """The stage, and where in it the run is."""
        return f"{self._stage}: {printable(self._text)}" if self._text else self._stage

    def times(self) -> str:
        """For people: ``elapsed 0:05 · left 1:20``."""
        now = self._now()
        left = "" if self._end is None else f" · left {clock(max(self._end - now, 0.0))}"
        return f"elapsed {clock(now - self._began)}{left}"


class LiveObserver(_Watching):
    """One line on a terminal that changes, and lines above it that stay."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._spinner = Spinner("dots")
        self._live = Live(console=console, transient=True, get_renderable=self._drawn, refresh_per_second=4)

    def __enter__(self) -> LiveObserver:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def line(self, text: str, style: str = "") -> None:
        """A line above the live one."""
        self._console.print(Text(text, style=style))

    def _drawn(self) -> Text:
        turning = self._spinner.render(self._console.get_time())
        said = " · ".join(filter(None, (self.times(), self.doing)))
        return Text(f"{turning} {said}", overflow="ellipsis", no_wrap=True)


class LineObserver(_Watching):
    """A line for each stage of a long run, and one every half a minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic, every: float = _EVERY) -> None:
        super().__init__(now)
        self._every = every
        self._told = self._began
        self._announced: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> LineObserver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def stage(self, name: str) -> None:
        """A line of a long run; none where the same begins again, for another plan or after a stage inside it."""
        super().stage(name)
        if name not in self._announced:
            self._announced.add(name)
            self._tell_where()

    def _watch(self) -> None:
        while not self._over.wait(max(self._every - (self._now() - self._told), 0.0)):
            if self._now() - self._told >= self._every:
                self._tell_where()

    def _tell_where(self) -> None:
        self._told = self._now()
        if self.is_long:
            self.tell(f"{self.times()} · {self.doing}")

"""What a caller hears while a function works: an observer, a callable, or warnings alone."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable

from domino_onnx.codec import shown
from domino_onnx.errors import OptionError
from domino_onnx.forecast import Forecast
from domino_onnx.report.forecast import TITLES, clock
from domino_onnx.stages import Observer

__all__ = ["DominoWarning", "Progress", "ProgressFunction", "Spokesman", "require_listeners"]

_PACKAGE = __name__.partition(".")[0]
_METHODS = ("expect", "stage", "progress", "left", "note", "warn")
"""Of an `Observer`."""


class DominoWarning(UserWarning):
    """Something to know that doesn't stop the work. A result's `warnings` hold the same."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a function is. As text it is one line, so that ``progress=print`` does.

    Attributes
    ----------
    stage
        What is being done: ``"refit"``, ``"finetune"``.
    done, total
        Of this stage, in its own units; both 0 where a stage begins or goes on.
    text
        The same in words: ``"3 of 13 weights"``.
    left
        Seconds until the function returns; None while that isn't known.
    """

    stage: str
    done: float = 0.0
    total: float = 0.0
    text: str = ""
    left: float | None = None

    def __str__(self) -> str:
        said = TITLES.get(self.stage, self.stage) + (f": {self.text}" if self.text else "")
        return said if self.left is None else f"{said} ({clock(self.left)} left)"


ProgressFunction = Callable[[Progress], object]


def require_listeners(function: str, progress: object, observer: object) -> None:
    """Raise OptionError for a `progress` that can't be called, and for an `observer` that lacks a method."""
    if progress is not None and not callable(progress):
        raise OptionError(f"{function}(): 'progress' is {progress!r}; it must be a function, for instance print")
    lacks = [name for name in _METHODS if observer is not None and not callable(getattr(observer, name, None))]
    if lacks:
        raise OptionError(
            f"{function}(): 'observer' is {shown(observer)}, without the method {lacks[0]}(); give an object with all "
            "methods of domino_onnx.Observer, or a function as progress"
        )


class Spokesman:
    """Passes on what the stages tell, in Python's words: to an observer, or else to a callable and as warnings."""

    def __init__(
        self, observer: Observer | None, function: ProgressFunction | None, in_words: Callable[[str], str]
    ) -> None:
        self._observer = observer
        self._function = function
        self._in_words = in_words
        self._last = Progress(stage="")

    def expect(self, forecast: Forecast) -> None:
        """What the run is going to cost."""
        if self._observer is not None:
            self._observer.expect(forecast)

    def stage(self, name: str) -> None:
        """A stage begins, or goes on after one inside it."""
        self._tell(Progress(stage=name, left=self._last.left))
        if self._observer is not None:
            self._observer.stage(name)

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the stage is."""
        self._tell(Progress(stage=self._last.stage, done=done, total=total, text=text, left=self._last.left))
        if self._observer is not None:
            self._observer.progress(done, total, text)

    def left(self, seconds: float) -> None:
        """Kept for the next time that something is told."""
        self._last = dataclasses.replace(self._last, left=seconds)
        if self._observer is not None:
            self._observer.left(seconds)

    def note(self, text: str) -> None:
        """What the run has found out on the way."""
        if self._observer is not None:
            self._observer.note(self._in_words(text))

    def warn(self, message: str) -> None:
        """A `DominoWarning`, where no observer takes it."""
        if self._observer is not None:
            self._observer.warn(self._in_words(message))
        else:
            warnings.warn(self._in_words(message), DominoWarning, stacklevel=_frames_inside())

    def _tell(self, progress: Progress) -> None:
        self._last = progress
        if self._function is not None:
            self._function(progress)


def _frames_inside() -> int:
    """How far above the caller the first frame outside of this package is."""
    depth = 1
    while sys._getframe(depth).f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        depth += 1
    return depth

"""A value that is expensive to build, and built once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Generic, TypeVar

from domino_onnx.errors import DominoError

__all__ = ["Once"]

_T = TypeVar("_T")


class Once(Generic[_T]):
    """A value that is built when it is first asked for, or the error that building it gave.

    It keeps neither the builder nor an error that was raised, whose traceback leads to the laboratory: that holds the
    whole model, and must not wait for the garbage collector.
    """

    def __init__(self) -> None:
        self._value: _T | None = None
        self._error: DominoError | None = None

    @property
    def known(self) -> _T | None:
        """The value, if it was built."""
        return self._value

    def value(self, build: Callable[[], _T]) -> _T:
        """The value; the error, each time it is asked for, if it couldn't be built."""
        if self._error is not None:
            raise copy.copy(self._error)
        if self._value is None:
            try:
                self._value = build()
            except DominoError as error:
                self.fail(error)
                raise
        return self._value

    def forget(self) -> None:
        """Let go of the value; it is built again if it is asked for again."""
        self._value = None

    def fail(self, error: DominoError) -> None:
        """Forget the value, and raise this error from now on."""
        self._value, self._error = None, copy.copy(error)

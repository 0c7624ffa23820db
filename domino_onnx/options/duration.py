"""A length of time, as a user writes it."""

from __future__ import annotations

import dataclasses
import re

from domino_onnx.errors import OptionError

__all__ = ["Duration"]

_UNITS = {"h": 3600, "m": 60, "s": 1}
_MOST = 10_000 * 3600
_SHOWN = 60
"""The most characters of what was given that a message repeats."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A number of seconds, a whole one; as text ``90s``, ``10m`` or ``1h``.

    Raises
    ------
    OptionError
        If it is less than a second, or more than 10,000 hours.
    """

    seconds: int

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= _MOST:
            raise OptionError(f"a time of {self.seconds} s is not possible: give 1s to 10000h")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``90s``, ``10m`` or ``1h``, also with a fraction: ``1.5h``."""
        match = re.fullmatch(r"\s*(\d{1,8}(?:\.\d{1,3})?)\s*([hms])\s*", text)
        if match is None:
            raise OptionError(f"{text[:_SHOWN]!r} is not a time; write for instance 90s, 10m or 1h")
        return cls(round(float(match[1]) * _UNITS[match[2]]))

    def shared(self, count: int) -> Duration:
        """An even share, of a second at least."""
        return Duration(max(self.seconds // count, 1))

    def __str__(self) -> str:
        unit = next(unit for unit, size in _UNITS.items() if self.seconds % size == 0)
        return f"{self.seconds // _UNITS[unit]}{unit}"

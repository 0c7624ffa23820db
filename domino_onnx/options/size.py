"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

from domino_onnx.errors import OptionError

__all__ = ["ByteSize"]

_UNITS = {
    "TiB": 1 << 40,
    "TB": 10**12,
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1 << 10,
    "kB": 10**3,
    "B": 1,
}
"""The largest first."""
_BY_NAME = {name.lower(): size for name, size in _UNITS.items()}


class ByteSize(int):
    """A whole number of bytes. As text it has a unit: ``4GB`` is 4,000,000,000 bytes, ``512MiB`` is 512 * 2^20.

    Raises
    ------
    OptionError
        If it is less than one byte.
    """

    __slots__ = ()

    def __new__(cls, size: int) -> ByteSize:
        """So many bytes."""
        if size < 1:
            raise OptionError(f"{size} is less than one byte; write for instance 4GB or 512MiB")
        return super().__new__(cls, size)

    @classmethod
    def parse(cls, text: str) -> ByteSize:
        """Read ``"4GB"``, ``"1.5 GiB"``; small letters will do.

        Raises
        ------
        OptionError
            For a text that is no size, has no unit, or comes to less than one byte.
        """
        match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?i?b)\s*", text, re.IGNORECASE | re.ASCII)
        unit = None if match is None else _BY_NAME.get(match[2].lower())
        if match is None or unit is None:
            raise OptionError(f"{text[:60]!r} is no size; write a number and a unit, for instance 4GB or 512MiB")
        return cls(int(Fraction(match[1]) * unit))

    def __str__(self) -> str:
        """What `parse` reads: the largest unit that needs no fraction."""
        name, unit = next((name, unit) for name, unit in _UNITS.items() if self % unit == 0)
        return f"{int(self) // unit}{name}"

    def __repr__(self) -> str:
        return f"ByteSize({int(self)})"

"""Shares of a whole, as people write them."""

from __future__ import annotations

import re

from domino_onnx.errors import OptionError

__all__ = ["SHARE", "parse_share"]

SHARE = "share"
"""The key of a field's extra metadata that says that it may be written in percent."""


def parse_share(text: str) -> float:
    """Read ``0.5``, ``50%`` or ``87.5 %``. Whether it is a possible share is for the field to say.

    Raises
    ------
    OptionError
        For a text that is no number.
    """
    match = re.fullmatch(r"\s*([+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?)\s*(%?)\s*", text)
    if match is None:
        raise OptionError(f"{text[:60]!r} is no share; write for instance 0.5 or 50%")
    return float(match[1]) / 100 if match[2] else float(match[1])

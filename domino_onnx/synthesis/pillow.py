"""Pillow, which is not needed to draw shapes, and need not be installed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

__all__ = ["has_pillow", "pillow"]


def has_pillow() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("PIL") is not None


def pillow(module: str) -> Any:
    """A module of it, by its name in ``PIL``.

    Raises
    ------
    ImportError
        If it isn't installed, or was built without that module.
    """
    return importlib.import_module(f"PIL.{module}")

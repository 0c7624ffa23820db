"""How shares are written."""

from __future__ import annotations

__all__ = ["percent"]


def percent(share: float | None, digits: int = 1) -> str:
    """0.8751 as 87.5 %; a dash where there is none."""
    return "-" if share is None else f"{share * 100:.{digits}f} %"

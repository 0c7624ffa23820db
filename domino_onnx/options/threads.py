"""How many threads there may be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

__all__ = ["ThreadCount"]

ThreadCount = Annotated[int, Meta(ge=0, le=1024)]
"""0: one for each core. ONNX Runtime starts as many as it is told, and a million of them would take all memory."""

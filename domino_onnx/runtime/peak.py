"""The most memory that a run's processes have had."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from domino_onnx.runtime.cgroups import text_of
from domino_onnx.runtime.child import Child

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["peak_memory"]


def peak_memory() -> int | None:
    """Bytes that the largest process of a run has had resident at its peak; None on systems that don't say.

    That is this process, or one of its children: one that has ended, or on Linux one that a model runs in. What
    several have at once isn't added up. All is counted since this process began, and mapped files are counted too.
    """
    peaks = [_peak("self"), *(_peak(child) for child in Child.living()), *_by_getrusage()]
    return max((peak for peak in peaks if peak is not None), default=None)


def _peak(process: int | str) -> int | None:
    """Of one process, as Linux keeps it for the program that runs in it (VmHWM)."""
    found = re.search(r"VmHWM:\s*(\d+) kB", text_of(Path(f"/proc/{process}/status")))
    return None if found is None else int(found[1]) * 1024


def _by_getrusage() -> list[int]:
    """Of the largest child that has ended; and of this process, where there is no VmHWM.

    Linux counts what a process was forked from: a child's peak includes that of this process until then, and this
    one's that of a program before it. The first does no harm here.
    """
    if resource is None:
        return []
    unit = 1 if sys.platform == "darwin" else 1024
    asked = [resource.RUSAGE_CHILDREN, *([] if _peak("self") is not None else [resource.RUSAGE_SELF])]
    return [resource.getrusage(each).ru_maxrss * unit for each in asked]

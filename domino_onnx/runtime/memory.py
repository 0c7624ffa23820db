"""How much memory there is for this process, and how much of it a run may take."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

from domino_onnx.runtime.cgroups import group_memory, text_of

__all__ = ["available_memory", "memory_budget", "resident_memory"]

_SHARE = 0.5
_ROOT = Path("/")
_VM_STAT = ("free", "inactive", "speculative", "purgeable")
"""Pages that macOS gives to a process that asks, as `vm_stat` calls them."""


def memory_budget(asked: int | None = None, root: Path = _ROOT) -> int | None:
    """Bytes that the process may take: what was asked for, else what it has and half of what is available.

    None where nothing was asked for, on systems that don't say what is available.
    """
    if asked is not None:
        return asked
    available = available_memory(root)
    return None if available is None else resident_memory(root) + int(_SHARE * available)


def resident_memory(root: Path = _ROOT) -> int:
    """Bytes of memory that this process takes now; 0 on systems that don't say."""
    pages = text_of(root / "proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that this process can still get without swapping; None on systems that don't say.

    On Linux that is the least of three: what the machine has, what the process's control groups leave, and what its
    limit of address space leaves. Elsewhere it is what the system calls available.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    if (root / "proc/meminfo").exists():
        answers = (_machine_memory(root), group_memory(root), _address_space(root))
        return min((answer for answer in answers if answer is not None), default=None)
    if sys.platform == "win32":
        return _windows_memory()
    return _vm_stat_memory(_vm_stat()) if sys.platform == "darwin" else None


def _machine_memory(root: Path) -> int | None:
    """MemAvailable; before Linux 3.14, which has none, what is free or cached."""
    kib = {
        name: int(size)
        for name, size in re.findall(r"^(\w+): +(\d+) kB$", text_of(root / "proc/meminfo"), re.MULTILINE)
    }
    if "MemAvailable" in kib:
        return kib["MemAvailable"] * 1024
    return sum(kib.get(name, 0) for name in ("MemFree", "Buffers", "Cached")) * 1024 if "MemFree" in kib else None


def _address_space(root: Path) -> int | None:
    """What `ulimit -v` leaves; None without a limit."""
    limit = re.search(r"^Max address space +(\d+)", text_of(root / "proc/self/limits"), re.MULTILINE)
    used = re.search(r"^VmSize:\s*(\d+) kB", text_of(root / "proc/self/status"), re.MULTILINE)
    return None if limit is None or used is None else max(0, int(limit[1]) - int(used[1]) * 1024)


def _vm_stat() -> str:
    try:
        return subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _vm_stat_memory(text: str) -> int | None:
    """Bytes available as macOS's `vm_stat` tells them; None for a text that it isn't."""
    page = re.search(r"page size of (\d+) bytes", text)
    pages = {name: int(count) for name, count in re.findall(r"^Pages (\w+): +(\d+)\.$", text, re.MULTILINE)}
    if page is None or "free" not in pages:
        return None
    return int(page[1]) * sum(pages.get(name, 0) for name in _VM_STAT)


def _windows_memory() -> int | None:
    """Bytes of memory available, and no more than what may still be committed (GlobalMemoryStatusEx)."""
    status = _MemoryStatus()
    status.dwLength = ctypes.sizeof(status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return min(int(status.ullAvailPhys), int(status.ullAvailPageFile))


class _MemoryStatus(ctypes.Structure):
    """Windows' MEMORYSTATUSEX."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_uint64),
        ("ullAvailPhys", ctypes.c_uint64),
        ("ullTotalPageFile", ctypes.c_uint64),
        ("ullAvailPageFile", ctypes.c_uint64),
        ("ullTotalVirtual", ctypes.c_uint64),
        ("ullAvailVirtual", ctypes.c_uint64),
        ("ullAvailExtendedVirtual", ctypes.c_uint64),
    )

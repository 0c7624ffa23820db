"""How much memory Linux's control groups leave to this process.

A container's limit, a systemd slice's or a batch system's is set on the process's own group or on one above it.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["group_memory", "text_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """What a version of control groups calls its files, and what the kernel gives back of them by itself."""

    mounts: tuple[str, ...]
    limits: tuple[str, ...]
    usage: str
    reclaimable: tuple[str, ...]


_V1 = _Version(
    mounts=("sys/fs/cgroup/memory",),
    limits=("memory.limit_in_bytes",),
    usage="memory.usage_in_bytes",
    reclaimable=("total_inactive_file", "total_active_file"),
)
_V2 = _Version(
    mounts=("sys/fs/cgroup", "sys/fs/cgroup/unified"),
    limits=("memory.max", "memory.high"),
    usage="memory.current",
    reclaimable=("inactive_file", "active_file", "slab_reclaimable"),
)


def group_memory(root: Path) -> int | None:
    """Bytes that the tightest of this process's groups leaves; None without a limit, or without control groups.

    What a group uses counts without its page cache, which the kernel gives back where it is needed.
    """
    left = [
        room
        for version, path in _memberships(root)
        for folder in _folders(root, version, path)
        if (room := _room(folder, version)) is not None
    ]
    return min(left, default=None)


def text_of(path: Path) -> str:
    """A file of the kernel's as text; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _memberships(root: Path) -> Iterator[tuple[_Version, str]]:
    """The groups that the process is in: ``0::/path`` in version 2, ``4:memory:/path`` in version 1."""
    for line in text_of(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield _V2, path
        elif "memory" in controllers.split(","):
            yield _V1, path


def _folders(root: Path, version: _Version, path: str) -> Iterator[Path]:
    """The group's own folder and those above it, up to where its file system is mounted.

    In a container the path may lie outside of what is mounted. Then the mount is the container's own group.
    """
    for mount, top in _mounts(root, version):
        inside = PurePosixPath(path)
        below = inside.relative_to(top) if inside.is_relative_to(top) and ".." not in inside.parts else PurePosixPath()
        for place in (below, *below.parents):
            yield mount / place


def _mounts(root: Path, version: _Version) -> list[tuple[Path, str]]:
    """Where the groups are mounted, and which group is the top there."""
    found = []
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        fields = before.split(" ")
        is_v1 = kind == "cgroup" and "memory" in re.split(r"[ ,]", options)
        if len(fields) > 4 and (is_v1 if version is _V1 else kind == "cgroup2"):
            found.append((root / _unescaped(fields[4]).lstrip("/"), _unescaped(fields[3])))
    return found or [(root / mount, "/") for mount in version.mounts]


def _unescaped(field: str) -> str:
    """A path as it is; the kernel writes its blanks as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _room(folder: Path, version: _Version) -> int | None:
    """Bytes that one group still allows; None where it sets no limit."""
    limits = [limit for name in version.limits if (limit := _number(folder / name)) is not None]
    usage = _number(folder / version.usage)
    if not limits or usage is None:
        return None
    counts = dict(re.findall(r"^(\w+) (\d+)$", text_of(folder / "memory.stat"), re.MULTILINE))
    cache = sum(int(counts.get(name, 0)) for name in version.reclaimable)
    return max(0, min(limits) - max(0, usage - cache))


def _number(path: Path) -> int | None:
    """The number in a file; None for ``max``, and without the file."""
    text = text_of(path).strip()
    return int(text) if text.isdecimal() else None

"""Measured rows, one file a network: what is there isn't measured again."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "Results", "machine", "put_between"]

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


class Results:
    """The rows of a network, in a JSON file with a line a row; each row is found again by its `case`."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.rows = self._kept()
        self._header = dict(header)

    def has(self, case: Mapping[str, Any]) -> bool:
        """Whether this case was measured, or failed."""
        return any(row["case"] == case for row in self.rows)

    def put(self, row: Row) -> None:
        """Add a row in the place of an older one of the same case, and write the file, to which others may add."""
        self.rows = [kept for kept in self._kept() if kept["case"] != row["case"]] + [row]
        head = json.dumps(self._header, indent=1, ensure_ascii=False)[:-2]
        lines = ",\n".join("  " + json.dumps(each, ensure_ascii=False) for each in self.rows)
        text = f'{head},\n "rows": [\n{lines}\n ]\n}}\n'
        json.loads(text)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path)

    def _kept(self) -> list[Row]:
        """The rows that the file has now."""
        return json.loads(self.path.read_text(encoding="utf-8"))["rows"] if self.path.exists() else []


def machine() -> str:
    """The processor, as the system calls it, and how many cores of it there are."""
    cores = os.cpu_count()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        features = info.read_text()
        vectors = "AVX-512" if "avx512f" in features else "AVX2" if "avx2" in features else "no AVX2"
        return f"{names[0] if names else platform.machine()} ({vectors}), {cores} cores, {platform.system()}"
    return f"{platform.processor() or platform.machine()}, {cores} cores, {platform.system()}"


def put_between(page: Path, mark: str, lines: Sequence[str]) -> None:
    """Put lines into a page, between the comment with this mark and the next `end`."""
    marked = re.compile(rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = "\n".join([*lines, ""])
    page.write_text(
        marked.sub(lambda found: found[1] + text + found[2], page.read_text(encoding="utf-8")), encoding="utf-8"
    )

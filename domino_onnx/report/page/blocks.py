"""Weights by the block of the network that they are in, as names tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["blocks"]

_MOST = 24
"""Blocks that still fit on a screen."""
_FEWEST = 40
"""Weights that need no blocks."""


def blocks(names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Blocks in the order of their first weight, each with the places of its weights.

    Names are cut at slashes and dots. The longest beginnings are taken that make few enough blocks. Where one of these
    is too long, it is of several neighbours of the next longer ones: layers 0 to 2, 3 to 5, ...
    """
    if len(names) <= _FEWEST:
        return [("", list(range(len(names))))]
    parts = [[part for part in re.split(r"[/.]", name) if part] for name in names]
    found = _by_depth(parts, 1)
    for depth in range(2, max(map(len, parts), default=0)):
        deeper = _by_depth(parts, depth)
        if len(deeper) > _MOST:
            if max(map(len, found.values())) > _FEWEST:
                found = _neighbours_joined(deeper)
            break
        found = deeper
    if len(found) > _MOST:  # names have no blocks: so many of them each time
        size = -(-len(names) // _MOST)
        return [
            (f"{at + 1} to {min(at + size, len(names))}", list(range(at, min(at + size, len(names)))))
            for at in range(0, len(names), size)
        ]
    return list(found.items())


def _by_depth(parts: Sequence[Sequence[str]], depth: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, each in enumerate(parts):
        found.setdefault("/".join(each[: min(depth, max(len(each) - 1, 1))]), []).append(place)
    return found


def _neighbours_joined(found: dict[str, list[int]]) -> dict[str, list[int]]:
    """Few enough blocks, each of as many of these, one behind the other."""
    names = list(found)
    step = -(-len(names) // _MOST)
    runs = (names[at : at + step] for at in range(0, len(names), step))
    return {_from_to(run): [place for name in run for place in found[name]] for run in runs}


def _from_to(names: Sequence[str]) -> str:
    """The first and the last, without the beginning that both have: layer/0 to 2."""
    first, last = names[0].split("/"), names[-1].split("/")
    alike = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return names[0] if len(names) == 1 else f"{names[0]} to {'/'.join(last[alike:])}"

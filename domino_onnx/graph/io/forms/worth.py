"""Which weights are packed? Those that make the file smallest, with the constants that they share paid for once."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Gain", "worth_packing"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What packing one weight would bring.

    Attributes
    ----------
    saved
        Bytes, without what it shares with others; negative where it would take more.
    shares
        Bytes of each constant that it needs, by name. Weights that need the same one pay for it once.
    """

    saved: int
    shares: Mapping[str, int]


def worth_packing(gains: Sequence[Gain]) -> set[int]:
    """Places of the weights that save most together, less the constants that they need; the fewest that do.

    This is the problem of project selection, or maximum closure: projects that share their tools. A smallest cut of a
    flow solves it (J.-C. Picard, Maximal closure of a graph, 1976). Money flows from each weight, at most what it
    saves, to the constants that it needs, at most their size. As much as possible flows. Then a weight is worth it if
    it has money left. So is a weight whose payment a weight with money left could take over, itself or through others.

    Say that each of two weights needs the constant `c` of 100 bytes. The first saves 150 and pays all of it, so 50 are
    left. The second saves 20 and has paid nothing, so it has 20 left: both are worth it. Had the second paid 20 and the
    first 80, then the first could take over those 20. Both are worth it again, however they share the payment. Were 70
    and 20 saved, then both would have paid all that they save, and nothing is left: neither is worth it.
    """
    uses = Counter(name for gain in gains if gain.saved > 0 for name in gain.shares)
    saved: dict[int, int] = {}
    for place, gain in enumerate(gains):
        left = gain.saved - sum(size for name, size in gain.shares.items() if uses[name] == 1)
        if left > 0:
            saved[place] = left
    due = {name: size for place in saved for name, size in gains[place].shares.items() if uses[name] > 1}
    flow = _Flow()
    for place, left in saved.items():
        flow.join(_SOURCE, place, left)
        for name in gains[place].shares.keys() & due:
            flow.join(place, name, left)
    for name, size in due.items():
        flow.join(name, _SINK, size)
    return saved.keys() & flow.reached_at_most()


_Node: TypeAlias = int | str
_SOURCE, _SINK = -1, -2


class _Flow:
    """Pipes between nodes, filled as far as they go: Dinic's algorithm, which is Dinitz's of 1970."""

    def __init__(self) -> None:
        self._room: dict[_Node, dict[_Node, int]] = {_SOURCE: {}, _SINK: {}}

    def join(self, start: _Node, end: _Node, room: int) -> None:
        """Lay a pipe."""
        self._room.setdefault(start, {})[end] = room
        self._room.setdefault(end, {})[start] = 0

    def reached_at_most(self) -> set[_Node]:
        """Let as much flow as can; the nodes that pipes with room lead to from the source then."""
        while True:
            onward = self._onward()
            if _SINK not in onward:
                return set(onward)
            while (path := self._path(onward)) is not None:
                self._fill(path)

    def _onward(self) -> dict[_Node, list[_Node]]:
        """Each node that pipes with room lead to, with those behind it that are one step farther from the source."""
        steps: dict[_Node, int] = {_SOURCE: 0}
        onward: dict[_Node, list[_Node]] = {}
        waiting: deque[_Node] = deque([_SOURCE])
        while waiting:
            node = waiting.popleft()
            onward[node] = []
            for end, room in self._room[node].items():
                if room and end not in steps:
                    steps[end] = steps[node] + 1
                    waiting.append(end)
                if room and steps[end] > steps[node]:
                    onward[node].append(end)
        return onward

    def _path(self, onward: dict[_Node, list[_Node]]) -> list[_Node] | None:
        """From the source to the sink, where there is room; forgets ways on that lead nowhere. None if all do."""
        path: list[_Node] = [_SOURCE]
        while path and path[-1] != _SINK:
            node = path[-1]
            while onward[node] and not self._room[node][onward[node][-1]]:
                onward[node].pop()
            if onward[node]:
                path.append(onward[node][-1])
            else:
                path.pop()
                if path:
                    onward[path[-1]].pop()
        return path or None

    def _fill(self, path: Sequence[_Node]) -> None:
        pipes = list(itertools.pairwise(path))
        amount = min(self._room[start][end] for start, end in pipes)
        for start, end in pipes:
            self._room[start][end] -= amount
            self._room[end][start] += amount

"""Axes of tensors whose places must be permuted alike: links between them, and the groups that the links leave free.

An axis is linked with another as a whole (the channels into a Relu and out of it) or in parts (the pieces of a Concat,
a Slice, the repeats of a Flatten). Whole links make classes of axes. Parts make a relation between single places of
classes: two channels may be exchanged if that relation looks the same from both, which their signatures say.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "AxisLinks", "FreeChannels", "Places"]

Axis = tuple[str, int]
"""Name of a tensor of the main graph, and the number of one of its axes."""
Places = NDArray[np.intp]
_Signature = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FreeChannels:
    """Channels that may be permuted among themselves, if that is done on all of these axes.

    Attributes
    ----------
    places
        By axis, (size, copies): at which places of it each channel stands.
    """

    size: int
    places: Mapping[Axis, Places]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Place ``first_places[k]`` of one axis and place ``second_places[k]`` of the other hold the same channel."""

    first: Axis
    first_places: Places
    second: Axis
    second_places: Places


class AxisLinks:
    """Collects what is known about axes; everything is free until it is linked or frozen.

    Parameters
    ----------
    sizes
        Of every axis that will be named; one of unknown size freezes whatever it is linked with.
    """

    def __init__(self, sizes: Mapping[Axis, int | None]) -> None:
        self._sizes = sizes
        self._parents: dict[Axis, Axis] = {}
        self._frozen: set[Axis] = {axis for axis, size in sizes.items() if size is None}
        self._parts: list[_Part] = []

    def link(self, first: Axis, second: Axis) -> None:
        """Whatever permutes one of them permutes the other; unequal sizes freeze both."""
        one, other = self._root(first), self._root(second)
        if self._sizes[one] != self._sizes[other] or self._sizes[one] is None:
            self._frozen |= {one, other}
        elif one != other:
            self._parents[other] = one
            if other in self._frozen:
                self._frozen.add(one)

    def link_part(self, first: Axis, first_places: Places, second: Axis, second_places: Places) -> None:
        """The same for some of their places only, pairwise.

        Whatever else befalls the places that aren't named must be the same for all of them on that axis.
        """
        if self._sizes[first] is None or self._sizes[second] is None:
            self.freeze(first)
            self.freeze(second)
        else:
            self._parts.append(_Part(first, first_places, second, second_places))

    def freeze(self, axis: Axis) -> None:
        """Nothing on this axis may move."""
        self._frozen.add(self._root(axis))

    def free(self, wanted: Iterable[Axis]) -> list[FreeChannels]:
        """The groups of at least two channels that are left free, with their places on the axes `wanted`."""
        members: dict[Axis, list[Axis]] = {}
        for axis in wanted:
            members.setdefault(self._root(axis), []).append(axis)
        found = []
        for size, places in self._orbits(members):
            by_axis = {axis: where for root, where in places.items() for axis in members.get(root, ())}
            if by_axis:
                found.append(FreeChannels(size, by_axis))
        return found

    def _orbits(self, roots: Iterable[Axis]) -> Iterator[tuple[int, dict[Axis, Places]]]:
        """Sets of channels that may be exchanged, and where they stand on each class of axes."""
        parts = [
            dataclasses.replace(part, first=self._root(part.first), second=self._root(part.second))
            for part in self._parts
        ]
        divided = {root for part in parts for root in (part.first, part.second)}
        for root in roots:
            size = self._sizes[root]
            if root not in divided and root not in self._frozen and size is not None and size > 1:
                yield size, {root: np.arange(size).reshape(-1, 1)}
        sizes = {root: self._sizes[root] or 0 for root in sorted(divided)}
        yield from _Relation(sizes, parts, self._frozen).orbits()

    def _root(self, axis: Axis) -> Axis:
        passed = []
        while axis in self._parents:
            passed.append(axis)
            axis = self._parents[axis]
        self._parents.update(dict.fromkeys(passed, axis))
        return axis


class _Relation:
    """Single places of classes, numbered through, and the channels that parts join them to."""

    def __init__(self, sizes: Mapping[Axis, int], parts: Sequence[_Part], frozen: Collection[Axis]) -> None:
        starts = np.cumsum([0, *sizes.values()])
        self._roots = list(sizes)
        self._offsets = {root: int(start) for root, start in zip(self._roots, starts, strict=False)}
        self._owner = np.repeat(np.arange(len(sizes)), list(sizes.values()))
        self._pairs = [
            (self._offsets[part.first] + part.first_places, self._offsets[part.second] + part.second_places)
            for part in parts
        ]
        self._channel = _joined(len(self._owner), self._pairs)
        self._copy = _copies(self._owner, self._channel)
        held = np.isin(self._owner, [index for index, root in enumerate(self._roots) if root in frozen])
        self._frozen = set(self._channel[held].tolist())

    def orbits(self) -> Iterator[tuple[int, dict[Axis, Places]]]:
        """Channels of equal signature: exchanging two, copy by copy, leaves every link as it was."""
        standing = self._standing()
        alike: dict[_Signature, list[int]] = defaultdict(list)
        for channel, signature in self._signatures().items():
            alike[signature].append(channel)
        for channels in alike.values():
            if len(channels) > 1:
                owners = standing[channels[0]]
                yield (
                    len(channels),
                    {
                        self._roots[owner]: np.array([standing[channel][owner] for channel in channels], np.intp)
                        for owner in owners
                    },
                )

    def _standing(self) -> dict[int, dict[int, list[int]]]:
        """By channel and class: the places where it stands, ascending."""
        found: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, (channel, owner) in enumerate(zip(self._channel.tolist(), self._owner.tolist(), strict=True)):
            found[channel][owner].append(place - self._offsets[self._roots[owner]])
        return found

    def _signatures(self) -> dict[int, _Signature]:
        """By channel, frozen ones left out: its copies on each class, and which of them each link joins."""
        entries: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for channel, owner, copy in zip(self._channel.tolist(), self._owner.tolist(), self._copy.tolist(), strict=True):
            if channel not in self._frozen:
                entries[channel].append((owner, copy))
        for number, (first, second) in enumerate(self._pairs):
            joined = zip(
                self._channel[first].tolist(), self._copy[first].tolist(), self._copy[second].tolist(), strict=True
            )
            for channel, one, other in joined:
                if channel not in self._frozen:
                    entries[channel].append((number, one, other))
        return {channel: tuple(sorted(found)) for channel, found in entries.items()}


def _joined(size: int, pairs: Sequence[tuple[Places, Places]]) -> Places:
    """For each place the smallest of those that pairs join it with, directly or through others."""
    labels = np.arange(size)
    while True:
        before = labels.copy()
        for first, second in pairs:
            low = np.minimum(labels[first], labels[second])
            np.minimum.at(labels, first, low)
            np.minimum.at(labels, second, low)
        if np.array_equal(before, labels):
            return labels


def _copies(owner: Places, channel: Places) -> Places:
    """For each place, how many places before it on the same class belong to the same channel."""
    order = np.lexsort((channel, owner))
    count = np.arange(len(order))
    changed = np.ones(len(order), np.bool_)
    changed[1:] = (np.diff(owner[order]) != 0) | (np.diff(channel[order]) != 0)
    copies = np.empty_like(count)
    copies[order] = count - np.maximum.accumulate(np.where(changed, count, 0))
    return copies

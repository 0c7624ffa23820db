"""Regions of a file: whole, apart from each other, and no larger a file than the gaps explain."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.runtime.regions import Regions

PAGE = 4096


@given(st.lists(st.one_of(st.integers(0, 20_000), st.just("free")), max_size=60), st.randoms())
def test_regions_never_overlap_and_end_behind_the_last(steps: list[int | str], random: object) -> None:
    regions = Regions()
    taken: list[tuple[int, int]] = []
    for step in steps:
        if isinstance(step, int):
            taken.append((regions.take(step), step))
        elif taken:
            regions.give_back(*taken.pop(random.randrange(len(taken))))  # type: ignore[attr-defined]
        ordered = sorted(taken)
        for (offset, size), (following, _) in itertools.pairwise(ordered):
            assert offset + max(size, 1) <= following
        assert all(offset % PAGE == 0 for offset, _ in taken)
        last = ordered[-1] if ordered else (0, 0)
        assert regions.end == -(-max(sum(last), last[0] + 1) // PAGE) * PAGE if ordered else regions.end == 0


def test_a_freed_region_is_used_again_and_neighbours_join() -> None:
    regions = Regions()
    first, second, third = (regions.take(PAGE) for _ in range(3))
    regions.give_back(first, PAGE)
    regions.give_back(second, PAGE)
    assert regions.take(2 * PAGE) == first
    assert regions.take(1) == third + PAGE

"""Sorted magnitudes count the same votes as weights of which the N largest are pulled one group after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.search.sorted_groups import SortedGroups

Array = np.ndarray[Any, np.dtype[Any]]
LR = 0.01


class Plain:
    """Every group sorted again after every step, signs and places kept."""

    def __init__(self, groups: Array) -> None:
        self.groups, self.n = groups.copy(), groups.shape[1]
        self.threshold = np.sort(np.abs(groups), axis=1)[:, : self.n // 2].mean(axis=1, dtype=np.float32)

    def largest(self) -> Array:
        return np.argsort(-np.abs(self.groups), axis=1, kind="stable")[:, : self.n]

    def below(self) -> int:
        chosen = np.abs(np.take_along_axis(self.groups, self.largest(), 1))
        return int((chosen.min(axis=1) <= self.threshold).sum())

    def pull(self, pull: float) -> None:
        chosen = self.largest()
        values = np.take_along_axis(self.groups, chosen, 1)
        np.put_along_axis(self.groups, chosen, values - np.float32(pull) * values * np.float32(LR), 1)


def votes(groups: Array, pulls: list[float], vote: float) -> tuple[list[int], list[int]]:
    fast, plain = SortedGroups(groups.copy), Plain(groups)
    counts: tuple[list[int], list[int]] = ([], [])
    for pull in pulls:
        for seen, each in zip(counts, (fast, plain), strict=True):
            seen.append(each.below())
        if counts[1][-1] >= vote * len(groups) and plain.n > 1:
            fast.fall()
            plain.n -= 1
        fast.pull(LR, pull)
        plain.pull(pull)
    return counts


@pytest.mark.parametrize("m", [2, 4, 12, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_vote_is_that_of_all_groups_sorted_again(m: int, dtype: Any) -> None:
    groups = np.random.default_rng(m).standard_t(3, (60, m)).astype(dtype).astype(np.float32)  # float16 has ties
    counts = votes(groups, [2.0] * 120, vote=0.75)
    assert counts[0] == counts[1]
    assert len(set(counts[1])) > 10, "a search that moves"


@given(
    seed=st.integers(0, 99),
    m=st.sampled_from([3, 8, 16]),
    vote=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    pulls=st.lists(st.sampled_from([1.0, 4.0, 11.0, -0.7, -3.0, 20.0, 90.0, 150.0, -40.0]), min_size=4, max_size=40),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_pulls_that_let_go_or_turn_everything_round(seed: int, m: int, vote: float, pulls: list[float]) -> None:
    groups = np.round(np.random.default_rng(seed).standard_normal((12, m)) * 8).astype(np.float32) / 8
    counts = votes(groups, pulls, vote)
    assert counts[0] == counts[1]

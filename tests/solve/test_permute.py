"""The search for permutations, against all permutations and against plain loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.scheme import NMScheme
from domino_onnx.solve.permute import PermutationConsumer, find_permutation, kept_saliency

Array = np.ndarray[Any, np.dtype[Any]]


def saliency(rows: int, length: int, seed: int = 0) -> Array:
    """Squares of Gaussians, with channels of very different size and some that go together."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, 4)) @ rng.standard_normal((4, length)) + rng.standard_normal((rows, length))
    return np.square(mixed * np.exp(rng.standard_normal(length))).astype(np.float32)


def kept_by_loops(values: Array, scheme: NMScheme) -> float:
    total = 0.0
    for row in values.tolist():
        for start in range(0, len(row), scheme.m):
            total += sum(sorted(row[start : start + scheme.m])[-scheme.n :])
    return total


def best_of_all(consumers: list[PermutationConsumer], size: int) -> float:
    orders = (np.array(order) for order in itertools.permutations(range(size)))
    return max(sum(kept_saliency(consumer, order) for consumer in consumers) for order in orders)


@pytest.mark.parametrize(
    ("size", "scheme"), [(6, NMScheme(1, 2)), (6, NMScheme(1, 3)), (6, NMScheme(2, 3)), (8, NMScheme(2, 4))]
)
@pytest.mark.parametrize("seed", range(3))
def test_few_channels_are_ordered_as_well_as_they_can_be(size: int, scheme: NMScheme, seed: int) -> None:
    consumer = PermutationConsumer(saliency=saliency(5, size, seed), scheme=scheme)
    found = find_permutation([consumer], size)
    assert kept_saliency(consumer, found) == pytest.approx(best_of_all([consumer], size), rel=1e-6)


def test_consumers_of_different_m_are_weighed_together() -> None:
    consumers = [
        PermutationConsumer(saliency=saliency(5, 8, 1), scheme=NMScheme(1, 4)),
        PermutationConsumer(saliency=saliency(3, 8, 2), scheme=NMScheme(1, 2)),
        PermutationConsumer(saliency=saliency(4, 8, 3), scheme=NMScheme(4, 8)),
        PermutationConsumer(saliency=saliency(9, 8, 4), scheme=NMScheme(8, 8)),
    ]
    found = find_permutation(consumers, 8)
    assert sum(kept_saliency(one, found) for one in consumers) == pytest.approx(best_of_all(consumers, 8), rel=1e-6)


def test_a_swap_inside_the_largest_group_may_serve_a_smaller_one() -> None:
    consumers = [
        PermutationConsumer(saliency=saliency(5, 8, 1), scheme=NMScheme(4, 8)),
        PermutationConsumer(saliency=np.array([[9, 8, 7, 6, 1, 1, 1, 1]], np.float32), scheme=NMScheme(1, 2)),
    ]
    found = find_permutation(consumers, 8)
    assert kept_saliency(consumers[1], found) == 30


def test_channels_that_share_an_axis_with_others() -> None:
    places = np.array([[1], [2], [4], [6], [7], [9]])
    consumer = PermutationConsumer(saliency=saliency(6, 12, 3), scheme=NMScheme(2, 4), places=places)
    found = find_permutation([consumer], 6)
    assert kept_saliency(consumer, found) == pytest.approx(best_of_all([consumer], 6), rel=1e-6)


def test_copies_in_groups_of_their_own_are_followed() -> None:
    places = np.arange(24).reshape(3, 8).T
    consumer = PermutationConsumer(saliency=saliency(4, 24, 5), scheme=NMScheme(1, 4), places=places)
    found = find_permutation([consumer], 8)
    assert kept_saliency(consumer, found) == pytest.approx(best_of_all([consumer], 8), rel=1e-6)


def test_copies_that_share_groups_are_judged_all_the_same() -> None:
    places = np.arange(16).reshape(8, 2)
    runs = PermutationConsumer(saliency=100 * saliency(4, 16, 6), scheme=NMScheme(1, 4), places=places)
    single = PermutationConsumer(saliency=saliency(4, 8, 7), scheme=NMScheme(1, 4))
    found = find_permutation([runs, single], 8)
    assert sum(kept_saliency(one, found) for one in (runs, single)) >= sum(map(kept_saliency, (runs, single)))


@pytest.mark.parametrize("scheme", [NMScheme(16, 16), NMScheme(2, 16)])
def test_nothing_to_gain_is_the_identity(scheme: NMScheme) -> None:
    consumer = PermutationConsumer(saliency=saliency(5, 16), scheme=scheme)
    assert find_permutation([consumer], 16).tolist() == list(range(16))
    assert find_permutation([], 16).tolist() == list(range(16))
    equal = PermutationConsumer(saliency=np.ones((5, 16), np.float32), scheme=NMScheme(2, 4))
    assert find_permutation([equal], 16).tolist() == list(range(16))


@given(
    groups=st.integers(1, 5),
    schemes=st.lists(st.sampled_from([NMScheme(1, 4), NMScheme(2, 4), NMScheme(3, 4), NMScheme(1, 2)]), max_size=3),
    seed=st.integers(0, 1000),
    effort=st.sampled_from([0, 1, 5_000, 200_000]),
)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_it_is_a_permutation_and_never_worse(groups: int, schemes: list[NMScheme], seed: int, effort: int) -> None:
    size = 4 * groups
    consumers = [
        PermutationConsumer(saliency=saliency(3, size, seed + k), scheme=scheme) for k, scheme in enumerate(schemes)
    ]
    found = find_permutation(consumers, size, seed=seed, effort=effort)
    assert sorted(found.tolist()) == list(range(size))
    assert sum(kept_saliency(one, found) for one in consumers) >= sum(map(kept_saliency, consumers))


@given(
    values=st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=8), min_size=1, max_size=4),
    scheme=st.sampled_from([NMScheme(1, 4), NMScheme(2, 4), NMScheme(4, 4), NMScheme(3, 8)]),
    order=st.permutations(range(8)),
)
@settings(deadline=None, derandomize=True)
def test_what_is_kept_is_what_loops_say(values: list[list[int]], scheme: NMScheme, order: list[int]) -> None:
    array = np.array(values, np.float32)
    consumer = PermutationConsumer(saliency=array, scheme=scheme)
    assert kept_saliency(consumer) == kept_by_loops(array, scheme)
    assert kept_saliency(consumer, np.array(order)) == kept_by_loops(array[:, order], scheme)
    # Ties everywhere: the search's own account must not drift from the truth.
    found = find_permutation([consumer], 8, effort=20_000)
    assert kept_saliency(consumer, found) >= kept_saliency(consumer)


def test_the_same_seed_gives_the_same_order_and_inputs_stay_as_they_were() -> None:
    consumer = PermutationConsumer(saliency=saliency(20, 48), scheme=NMScheme(2, 16))
    before = consumer.saliency.copy()
    first, again = (find_permutation([consumer], 48, seed=3, effort=20_000_000) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert np.array_equal(consumer.saliency, before)


def test_more_effort_is_no_worse_and_beats_chance_by_far() -> None:
    consumer = PermutationConsumer(saliency=saliency(64, 128), scheme=NMScheme(2, 16))
    kept = [
        kept_saliency(consumer, find_permutation([consumer], 128, effort=effort)) for effort in (10**6, 10**7, 10**8)
    ]
    assert kept == sorted(kept)
    rng = np.random.default_rng(0)
    chance = max(kept_saliency(consumer, rng.permutation(128)) for _ in range(200))
    assert kept[-1] > 1.015 * chance

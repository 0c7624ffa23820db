"""Which samples teach and which judge: parts that are disjoint and cover all, and the numbers of the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domino_onnx.data import Batching, Dataset, Split
from domino_onnx.data.split import has_judges, refit_judges, search_judges
from domino_onnx.errors import DataError

counts = st.integers(1, 400)
fixed_batches = st.none() | st.integers(1, 40)
seeds = st.integers(0, 5)


def numbered(count: int, batch: int | None = None) -> Dataset:
    """Samples that are their own numbers."""
    arrays = {"x": np.arange(count)}
    return Dataset(arrays=arrays, constant={}, labels=np.arange(count), batching=Batching(size=batch))


def numbers(data: Dataset) -> list[int]:
    found: list[int] = data.take(np.arange(data.count))["x"].tolist()
    return found


def split(count: int, batch: int | None, seed: int, **more: Any) -> Split:
    return Split.of(numbered(count, batch), **{"evaluation": None, "judged": False, **more}, seed=seed)


@given(counts, fixed_batches, seeds)
@example(1, None, 0)
@example(4, None, 0)
@example(64, 32, 0)
def test_the_parts_of_finetuning(count: int, batch: int | None, seed: int) -> None:
    assume(batch is None or batch <= count)
    made = split(count, batch, seed)
    train, held_out = set(made.train.tolist()), set(made.held_out.tolist())
    apart = set() if made.apart is None else set(numbers(made.apart))
    assert sorted([*numbers(made.fit), *apart]) == list(range(count))
    assert train | held_out == set(range(made.fit.count))
    if made.holds_out:
        assert train.isdisjoint(held_out)
        assert len(held_out) <= len(train)
        assert min(len(train), len(held_out)) >= (batch or 1)
        assert batch is None or len(held_out) % batch == 0
    else:
        assert train == held_out
    for refitted in (False, True):
        data, seen = made.judge(refitted=refitted, finetuned=True)
        if apart:
            assert (set(numbers(data)), seen) == (apart, False)
            continue
        assert (set(numbers(data)), seen) == (held_out, refitted or not made.holds_out)
        assert made.judge(refitted=refitted, finetuned=False) == (made.fit, refitted)


@pytest.mark.parametrize(
    ("count", "batch", "apart"),
    [(1024, None, 128), (128, None, 16), (123, None, 0), (9000, None, 512), (1000, 64, 64), (100, 4, 0)],
)
def test_an_eighth_is_kept_apart_where_that_tells_something(count: int, batch: int | None, apart: int) -> None:
    made = split(count, batch, 3)
    order = np.random.default_rng(3).permutation(count)
    assert (numbers(made.apart) if made.apart else []) == sorted(order[:apart].tolist())
    assert made.fit.count == count - apart


def test_15_percent_of_what_teaches() -> None:
    made = split(1024, None, 3)
    order = np.random.default_rng(3).permutation(896)
    assert made.train.tolist() == order[134:].tolist()
    assert made.held_out.tolist() == sorted(order[:134].tolist())


@pytest.mark.parametrize(
    ("count", "batch", "held_out"),
    [(3, None, 3), (4, None, 1), (100, 8, 16), (8, 8, 8), (16, 8, 8), (10_000, None, 512), (10_000, 100, 600)],
)
def test_how_many_are_held_out(count: int, batch: int | None, held_out: int) -> None:
    assert len(split(count, batch, 0).held_out) == held_out


@given(counts, fixed_batches, seeds)
def test_a_quarter_is_kept_apart(count: int, batch: int | None, seed: int) -> None:
    assume(batch is None or batch <= count)
    quarter = round(count * 0.25) if batch is None else round(count * 0.25) // batch * batch
    if quarter == 0 or quarter >= count - max(batch or 1, 1):
        with pytest.raises(DataError, match=r"too few samples \(\d+\) to set some apart"):
            split(count, batch, seed, judged=True)
        return
    made = split(count, batch, seed, judged=True)
    order = np.random.default_rng(seed).permutation(count)
    data, seen = made.judge(refitted=True, finetuned=True)
    assert (numbers(data), seen) == (sorted(order[:quarter].tolist()), False)
    assert numbers(made.fit) == sorted(order[quarter:].tolist())
    assert set(made.train.tolist()) | set(made.held_out.tolist()) == set(range(made.fit.count))


@given(counts, st.booleans())
def test_evaluation_data_judge(count: int, judged: bool) -> None:
    evaluation = numbered(7)
    made = split(count, None, 0, evaluation=evaluation, judged=judged)
    data, seen = made.judge(refitted=True, finetuned=True)
    assert data is evaluation
    assert not seen
    assert made.fit.count == count


@given(counts, fixed_batches, st.integers(1, 40), st.integers(1, 30))
def test_batches_teach_or_judge(count: int, batch: int | None, size: int, most: int) -> None:
    assume(batch is None or batch <= count)
    made = split(count, batch, 1)
    batches = made.batches(size)
    train, held_out = set(made.train.tolist()), set(made.held_out.tolist())
    for some in (batches, batches.thinned(most)):
        assert all(set(some.samples[place].tolist()) <= train for place in some.train)
        assert all(set(some.samples[place].tolist()) <= held_out for place in some.held_out)
        assert {*some.train, *some.held_out} == set(range(len(some.samples)))
        assert set(some.train).isdisjoint(some.held_out) == made.holds_out
        assert some.train
        assert some.held_out
        assert all(len(samples) == batch for samples in some.samples if batch)
    assert len(batches.thinned(most).samples) <= max(most, 2)
    taken = np.concatenate(batches.samples)
    assert len(set(taken.tolist())) == len(taken)
    if batch is None:
        assert sorted(taken.tolist()) == list(range(made.fit.count))


def test_every_fourth_batch_chooses_the_damping() -> None:
    assert [sorted(refit_judges(batches)) for batches in (1, 3, 4, 7, 8, 13)] == [
        [], [], [3], [3], [3, 7], [3, 7, 11],
    ]  # fmt: skip
    assert [has_judges(batches) for batches in (1, 3, 4, 5)] == [False, False, True, True]


@given(st.integers(1, 100), st.integers(0, 200))
@example(3, 200)
@example(4, 200)
def test_the_batches_that_the_search_measures_on(batches: int, wanted: int) -> None:
    judges = search_judges(batches, wanted)
    limit = batches // 3 if batches >= 4 else batches
    assert len(judges) == len(set(judges)) == max(min(wanted, limit), 1)
    assert list(judges) == sorted(judges)
    assert 0 <= judges[0] <= judges[-1] < batches
    gaps = np.diff([-judges[0] - 1, *judges, 2 * batches - judges[-1] - 1])
    assert gaps.max() - gaps.min() <= 2


def test_the_search_measures_in_the_middle_of_equal_stretches() -> None:
    assert search_judges(32, 5) == (3, 9, 16, 22, 28)
    assert search_judges(32, 99) == tuple(int(3.2 * (place + 0.5)) for place in range(10))
    assert search_judges(2, 9) == (0, 1)
    assert search_judges(9, 0) == (4,)

"""The gate behind finetuning, and doubts about judges: the rules by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.data import Dataset
from domino_onnx.outputs import Comparison, CustomScores, OutputComparison
from domino_onnx.stages.finetuning.gate import _change
from domino_onnx.stages.reading.doubts import doubts_of_judges, doubts_of_labels, doubts_of_samples
from domino_onnx.stages.trials.goals import advice
from domino_onnx.stages.trials.measuring import is_better


def answers(agreement: float, kl: float, samples: int = 100) -> Comparison:
    output = OutputComparison(
        name="y",
        kind="scores",
        means="",
        metric="agreement",
        drop=1 - agreement,
        max_abs=0.0,
        agreement=agreement,
        kl=kl,
    )
    return Comparison(samples=samples, outputs=(output,))


def values(error: float) -> Comparison:
    output = OutputComparison(
        name="y", kind="values", means="", metric="relative error", drop=error, max_abs=0.0, relative_error=error
    )
    return Comparison(samples=100, outputs=(output,))


def test_continuous_metrics_must_not_fall_at_all() -> None:
    assert is_better(values(0.1), values(0.1))
    assert not is_better(values(0.1001), values(0.1))


@pytest.mark.parametrize(
    ("after", "before", "better"),
    [
        (answers(0.90, 0.2), answers(0.91, 0.3), True),  # one answer of a hundred is chance, and the KL is smaller
        (answers(0.91, 0.4), answers(0.90, 0.3), False),
        (answers(0.86, 0.2), answers(0.90, 0.3), True),  # of 14 and 10 answers the root, 4.9, is chance
        (answers(0.84, 0.2), answers(0.90, 0.3), False),
        (answers(0.60, 0.2), answers(0.90, 0.3), False),
        (answers(0.95, 0.4), answers(0.60, 0.3), True),
    ],
)
def test_shares_of_few_samples_move_by_chance(after: Comparison, before: Comparison, better: bool) -> None:
    assert is_better(after, before) == better


def test_a_metric_of_the_users_is_taken_at_its_word() -> None:
    def scored(candidate: float) -> Comparison:
        return Comparison(samples=9, outputs=(), custom=CustomScores(name="m", reference=1.0, candidate=candidate))

    assert is_better(scored(0.5), scored(0.5))
    assert not is_better(scored(0.499), scored(0.5))


@pytest.mark.parametrize(("right", "doubted"), [(0.11, True), (0.10, True), (0.5, False), (0.99, False)])
def test_a_model_that_is_right_by_chance_is_doubted(right: float, doubted: bool) -> None:
    labels = np.arange(500) % 10
    said = list(doubts_of_labels(labels, right))
    assert bool(said) == doubted
    assert all("looks like chance" in each for each in said)


def test_half_of_a_few_samples_of_many_classes_is_no_chance() -> None:
    labels = np.array([571, 701, 566, 701, 701, 569, 491, 491, 482, 491, 0, 574, 491, 566, 482, 482])
    assert not list(doubts_of_labels(labels, 0.5))
    assert list(doubts_of_labels(labels, 0.25))  # as a model that always names the commonest


def test_labels_of_one_class_or_without_use() -> None:
    assert not list(doubts_of_labels(np.zeros(50, np.int64), 0.9))
    assert ["not used" in each for each in doubts_of_labels(np.arange(5), None)] == [True]


def test_judges_that_are_few_or_alike() -> None:
    def judges(count: int, labels: Any) -> Dataset:
        return Dataset(arrays={"x": np.zeros(count)}, constant={}, labels=labels)

    assert not list(doubts_of_judges(judges(200, None), 0.01))
    (few,) = doubts_of_judges(judges(20, None), 0.01)
    assert "each 5.0 % of all" in few
    (alike,) = doubts_of_judges(judges(20, np.full(20, 3)), None)
    assert "have the label 3" in alike


def test_what_decided_is_said() -> None:
    assert "chance, and its divergence is 0.4 instead of 0.3" in _change(answers(0.90, 0.3), answers(0.91, 0.4), "9")
    assert "divergence" not in _change(answers(0.90, 0.3), answers(0.60, 0.2), "9")
    assert _change(answers(0.91, 0.4), answers(0.90, 0.5), "9") == "agreement was 0.91 and became 0.9, on 9"
    assert _change(values(0.1), values(0.2), "9") == "relative error was 0.1 and became 0.2, on 9"


@pytest.mark.parametrize(
    ("comparison", "fitted", "more_data"),
    [
        (values(0.71), 0.0004, True),
        (values(0.71), 0.1, False),
        (values(0.71), None, False),
        (answers(0.8, 0.5), 0.04, True),
        (answers(0.8, 0.5), 0.06, False),
    ],
)
def test_weights_fitted_to_too_few_samples_want_more(
    comparison: Comparison, fitted: float | None, more_data: bool
) -> None:
    assert ("more --data" in advice(comparison, fitted)) == more_data


@pytest.mark.parametrize(("differ", "said"), [([], 1), ([3], 1), ([0], 0), ([35], 0)])
def test_samples_that_are_all_the_same_are_doubted(differ: list[int], said: int) -> None:
    """Eight samples from all over the data are looked at: of forty each fifth."""
    x = np.ones((40, 3), np.float32)
    x[differ, 1] = 2
    data = Dataset(arrays={"x": x, "mask": np.zeros((40, 1), np.int64)}, constant={}, labels=None)
    assert len(list(doubts_of_samples(data))) == said

"""Metrics by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs.metrics import Tally


def compared(reference: Any, candidate: Any, labels: Any = None, samples: int | None = None) -> Any:
    tally = Tally()
    a, b = np.asarray(reference, np.float32), np.asarray(candidate, np.float32)
    tally.add({"o": a}, {"o": b}, samples or len(a), None if labels is None else np.asarray(labels))
    return tally.result()


def test_equal_outputs_agree_wholly() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 4))
    result = compared(scores, scores, labels=scores.argmax(axis=1))
    assert (result.agreement, result.cosine, result.max_abs, result.samples) == (1.0, 1.0, 0.0, 5)
    assert result.kl == pytest.approx(0, abs=1e-12)
    assert (result.top1_reference, result.top1_candidate) == (1.0, 1.0)
    assert result.finite


def test_agreement_and_top1_are_shares_of_samples() -> None:
    result = compared([[1, 0], [1, 0], [0, 1], [0, 1]], [[1, 0], [0, 1], [0, 1], [1, 0]], labels=[0, 0, 0, 1])
    assert result.agreement == 0.5
    assert (result.top1_reference, result.top1_candidate) == (0.75, 0.25)


def test_kl_of_logits_is_that_of_their_softmax() -> None:
    result = compared([[0.0, math.log(3)]], [[0.0, 0.0]])  # p = (1/4, 3/4), q = (1/2, 1/2)
    assert result.kl == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), rel=1e-5)


def test_kl_of_probabilities_is_taken_as_it_is() -> None:
    result = compared([[0.25, 0.75]], [[0.5, 0.5]])
    assert result.kl == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), rel=1e-5)
    assert math.isfinite(compared([[0.0, 1.0]], [[1.0, 0.0]]).kl)


def test_cosine_is_the_mean_over_samples() -> None:
    result = compared([[1, 0], [3, 4]], [[0, 2], [6, 8]])
    assert result.cosine == pytest.approx(0.5)
    assert compared([[1, 1]], [[-1, -1]]).cosine == pytest.approx(-1)
    assert compared([[0, 0]], [[0, 0]]).cosine == 1
    assert compared([[0, 0]], [[1, 0]]).cosine == 0


def test_largest_difference_is_over_all_batches_and_outputs() -> None:
    tally = Tally()
    for value in (0.5, 3.0, 1.0):
        zeros, ones = np.zeros((2, 3, 1), np.float32), np.ones((2,), np.float32)
        tally.add({"a": zeros, "b": ones}, {"a": zeros - value, "b": ones}, 2)
    result = tally.result()
    assert result.max_abs == 3.0
    assert result.samples == 6
    assert result.agreement is None
    assert result.kl is None


def test_integers_are_no_scores_and_one_column_is_no_class() -> None:
    tally = Tally()
    tally.add({"i": np.arange(4).reshape(2, 2)}, {"i": np.zeros((2, 2), int)}, 2)
    result = tally.result()
    assert (result.agreement, result.cosine) == (None, None)
    assert compared([[1.0], [2.0]], [[1.0], [2.0]]).agreement is None


def test_outputs_that_are_not_finite_are_told() -> None:
    result = compared([[1.0, 2.0]], [[np.nan, 2.0]])
    assert not result.finite


def test_infinite_outputs_are_told_without_numpys_warnings() -> None:
    assert not compared([[1.0, 2.0]], [[np.inf, 2.0]]).finite


def test_the_first_matrix_of_floats_holds_the_scores_in_every_batch() -> None:
    tally = Tally()
    for sign in (1, -1):
        outputs = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[1.0, 0.0]], np.float32)}
        others = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[sign, 0.0]], np.float32)}
        extra = np.array([[0.0, 5.0]], np.float32)
        tally.add({**outputs, "t": extra}, {**others, "t": extra}, 1)
    assert tally.result().agreement == 0.5

"""Metrics by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.errors import DataError
from domino_onnx.outputs import OutputKind
from domino_onnx.outputs.metrics import Tally


def compared(reference: Any, candidate: Any, kind: OutputKind = "scores", *, labels: Any = None) -> Any:
    tally = Tally({"o": kind})
    a, b = np.asarray(reference, np.float32), np.asarray(candidate, np.float32)
    tally.add({"o": a}, {"o": b}, len(a), None if labels is None else np.asarray(labels))
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
    result = compared([[0.25, 0.75]], [[0.5, 0.5]], "probabilities")
    assert result.kl == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), rel=1e-5)
    assert math.isfinite(compared([[0.0, 1.0]], [[1.0, 0.0]], "probabilities").kl)


@pytest.mark.parametrize("kind", ["embedding", "values"])
def test_cosine_is_the_mean_over_samples(kind: OutputKind) -> None:
    result = compared([[1, 0], [3, 4]], [[0, 2], [6, 8]], kind)
    assert result.cosine == pytest.approx(0.5)
    assert compared([[1, 1]], [[-1, -1]], kind).cosine == pytest.approx(-1)
    assert compared([[0, 0]], [[0, 0]], kind).cosine == 1
    assert compared([[0, 0]], [[1, 0]], kind).cosine == 0


def test_float_noise_never_makes_a_divergence_negative() -> None:
    p = np.array([[0.2, 0.8]], np.float32)
    assert compared(p, p * np.float32(1 + 1e-6), "probabilities").kl == 0


def test_embeddings_are_judged_by_their_cosine_alone() -> None:
    """Not by that of values beside them."""
    tally = Tally({"v": "values", "e": "embedding"})
    right = {"v": np.array([[1.0, 0.0], [0.0, 3.0]]), "e": np.array([[1.0, 0.0], [0.0, 1.0]])}
    got = {"v": -right["v"], "e": np.array([[0.6, 0.8], [0.8, 0.6]])}
    tally.add(right, got, 2)
    result = tally.result()
    assert (result.metric, result.agreement, result.kl) == ("cosine", None, None)
    assert result.cosine == pytest.approx(0.6)
    assert result.drop == pytest.approx(0.4)
    assert result.kinds == {"v": "values", "e": "embedding"}


def test_values_are_judged_by_their_relative_error() -> None:
    """One minus R2 over all batches, whatever their sizes; outputs that are judged together count alike."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 3)) + np.array([0, 10, 100])
    b = a + 0.2 * rng.standard_normal((9, 3))
    wanted = np.sum((a - b) ** 2) / np.sum((a - a.mean(axis=0)) ** 2)
    tally = Tally({"a": "values", "b": "values"})
    for some in (slice(0, 1), slice(1, 6), slice(6, 9)):
        tally.add({"a": a[some], "b": a[some]}, {"a": b[some], "b": a[some]}, len(a[some]))
    result = tally.result()
    assert (result.metric, result.agreement) == ("relative error", None)
    assert result.relative_error == pytest.approx(wanted / 2, rel=1e-6)
    assert result.drop == result.relative_error
    assert compared(a, -a, "values").drop == 1


def test_answers_are_counted_at_every_position() -> None:
    right = np.eye(3, dtype=np.float32)[[[0, 1], [2, 2]]]
    got = np.eye(3, dtype=np.float32)[[[0, 1], [2, 0]]]
    assert compared(right, got, "probabilities", labels=[0, 2]).agreement == 0.75
    assert compared(right, got, "probabilities", labels=[0, 2]).top1_candidate is None


def test_a_label_beyond_the_classes_is_an_error() -> None:
    with pytest.raises(DataError, match="label 2, the model has 2 classes"):
        compared([[0.0, 1.0]], [[0.0, 1.0]], labels=[2])


def test_largest_difference_is_over_all_batches_and_outputs() -> None:
    tally = Tally({"a": "values", "b": "values"})
    for value in (0.5, 3.0, 1.0):
        zeros, ones = np.zeros((2, 3, 1), np.float32), np.ones((2,), np.float32)
        tally.add({"a": zeros, "b": ones}, {"a": zeros - value, "b": ones}, 2)
    result = tally.result()
    assert result.max_abs == 3.0
    assert result.samples == 6
    assert result.agreement is None
    assert result.kl is None


def test_what_has_no_kind_is_not_compared() -> None:
    tally = Tally({})
    tally.add({"i": np.arange(4).reshape(2, 2)}, {"i": np.zeros((2, 2), int)}, 2)
    result = tally.result()
    assert (result.agreement, result.cosine, result.relative_error) == (None, None, None)
    assert result.drop == math.inf


def test_outputs_that_are_not_finite_are_told() -> None:
    for kind in ("scores", "values", "embedding"):
        assert not compared([[1.0, 2.0]], [[np.nan, 2.0]], kind).finite
        assert not compared([[1.0, 2.0]], [[np.inf, 2.0]], kind).finite


def test_the_first_matrix_of_classes_holds_the_scores_in_every_batch() -> None:
    tally = Tally({"z": "probabilities", "s": "scores", "t": "scores"})
    for sign in (1, -1):
        outputs = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[1.0, 0.0]], np.float32)}
        others = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[sign, 0.0]], np.float32)}
        extra = np.array([[0.0, 5.0]], np.float32)
        tally.add({**outputs, "t": extra}, {**others, "t": extra}, 1)
    assert tally.result().agreement == 0.5

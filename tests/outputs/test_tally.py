"""Metrics by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.errors import DataError
from domino_onnx.outputs import Comparison, CustomScores, OutputKind, OutputMeaning, Survey, Tally


def tallied(reference: dict[str, Any], candidate: dict[str, Any], kinds: dict[str, OutputKind]) -> Comparison:
    """Both in one batch."""
    samples = len(next(iter(reference.values())))
    survey = Survey(1, kinds)
    survey.add(reference, samples)
    tally = Tally(survey.meanings())
    tally.add(reference, candidate, samples)
    return tally.result()


def compared(reference: Any, candidate: Any, kind: OutputKind = "scores", *, labels: Any = None) -> Any:
    a, b = np.asarray(reference, np.float32), np.asarray(candidate, np.float32)
    survey = Survey(1, {"o": kind})
    survey.add({"o": a}, len(a))
    tally = Tally(survey.meanings())
    tally.add({"o": a}, {"o": b}, len(a), None if labels is None else np.asarray(labels))
    return tally.result()


def test_equal_outputs_agree_wholly() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 4))
    result = compared(scores, scores, labels=scores.argmax(axis=1))
    assert (result.agreement, result.cosine, result.max_abs, result.samples) == (1.0, None, 0.0, 5)
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


def test_cosine_is_the_mean_over_samples() -> None:
    assert compared([[1, 0, 0], [3, 4, 0]], [[0, 2, 0], [6, 8, 0]], "embedding").cosine == pytest.approx(0.5)
    assert compared([[1, 1]], [[-1, -1]], "embedding").cosine == pytest.approx(-1)
    assert compared([[0, 0]], [[0, 0]], "embedding").cosine == 1
    assert compared([[0, 0]], [[1, 0]], "embedding").cosine == 0
    assert compared([[1, 0, 0], [3, 4, 0]], [[0, 2, 0], [6, 8, 0]], "values").cosine is None


def test_float_noise_never_makes_a_divergence_negative() -> None:
    p = np.array([[0.2, 0.8]], np.float32)
    assert compared(p, p * np.float32(1 + 1e-6), "probabilities").kl == 0


def test_several_outputs_are_told_one_by_one_and_judged_by_the_worst() -> None:
    rng = np.random.default_rng(0)
    right = {"v": rng.standard_normal((40, 2)), "e": np.tile([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (20, 1))}
    got = {"v": right["v"] + 0.1, "e": np.tile([[0.6, 0.8, 0.0], [0.8, 0.6, 0.0]], (20, 1))}
    result = tallied(right, got, {"v": "values", "e": "embedding"})
    values, embedding = result.outputs
    assert [(each.name, each.kind, each.metric) for each in result.outputs] == [
        ("v", "values", "relative error"),
        ("e", "embedding", "cosine"),
    ]
    assert values.drop == pytest.approx(np.mean(0.01 / right["v"].var(axis=0)), rel=1e-6)
    assert embedding.cosine == pytest.approx(0.6)
    assert (result.metric, result.drop) == ("cosine of e", pytest.approx(0.4))
    assert (result.agreement, result.kl) == (None, None)


def test_what_is_ignored_judges_nothing() -> None:
    rng = np.random.default_rng(0)
    right = {"v": rng.standard_normal((40, 2)), "cache": rng.standard_normal((40, 3))}
    got = {"v": right["v"] + 0.1, "cache": -right["cache"]}
    result = tallied(right, got, {"v": "values", "cache": "ignored"})
    assert [each.name for each in result.outputs] == ["v"]
    assert (result.metric, result.drop) == ("relative error", result.outputs[0].drop)


def test_values_are_judged_by_the_error_of_each_channel() -> None:
    """The mean over channels of one minus R2, over all batches, whatever their sizes."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((9, 3)) + np.array([0, 10, 100])) * np.array([1, 10, 0.1])
    b = a + np.array([0.2, 1, 0.03]) * rng.standard_normal((9, 3))
    wanted = np.mean((a - b) ** 2, axis=0) / a.var(axis=0)
    survey = Survey(1, {"a": "values"})
    survey.add({"a": a}, 9)
    tally = Tally(survey.meanings())
    for some in (slice(0, 1), slice(1, 6), slice(6, 9)):
        tally.add({"a": a[some]}, {"a": b[some]}, len(a[some]))
    result = tally.result()
    (output,) = result.outputs
    assert (result.metric, result.agreement) == ("relative error", None)
    assert result.relative_error == pytest.approx(wanted.mean(), rel=1e-6)
    assert (output.worst_channel, output.worst_error) == (wanted.argmax(), pytest.approx(wanted.max(), rel=1e-6))
    assert compared([[0.0], [1.0], [4.0]], [[0.0], [-1.0], [-4.0]], "values").drop == 1


def test_one_value_is_judged_over_the_batch() -> None:
    """Each value has the direction of its dense one; that says nothing of how far it is off."""
    rng = np.random.default_rng(0)
    shares = rng.random((200, 1))
    constant = np.full_like(shares, shares.mean())
    result = compared(shares, constant, "values")
    assert (result.metric, result.drop) == ("relative error", pytest.approx(1, abs=1e-4))
    assert result.cosine is None


def test_a_lost_class_shows_beside_boxes_in_pixels() -> None:
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.uniform(0, 320, (20, 4, 50)), rng.random((20, 3, 50)) ** 8], axis=1)
    b = a.copy()
    b[:, 6] = a[:, 6].mean()
    result = compared(a, b, "values")
    assert result.drop == pytest.approx(1 / 7, rel=1e-3)
    assert result.outputs[0].worst_channel == 6


def test_integers_and_strings_are_equal_or_not() -> None:
    right = {"n": np.arange(6).reshape(3, 2), "s": np.array(["a", "b", "c"], object)}
    got = {"n": np.array([[0, 1], [2, 9], [4, 5]]), "s": np.array(["a", "x", "y"], object)}
    numbers, strings = tallied(right, got, {}).outputs
    assert (numbers.metric, numbers.equal) == ("equality", pytest.approx(5 / 6))
    assert (strings.equal, strings.drop) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_floats_may_be_compared_exactly_too() -> None:
    """A share of all values, however many columns there are."""
    right = np.arange(12, dtype=np.float32).reshape(4, 3)
    got = right.copy()
    got[0] += 1
    (output,) = tallied({"y": right}, {"y": got}, {"y": "exact"}).outputs
    assert (output.metric, output.equal) == ("equality", 0.75)


def test_another_number_of_boxes_is_lost_wholly() -> None:
    rng = np.random.default_rng(0)
    boxes = {"b": rng.random((8, 4)).astype(np.float32), "i": np.arange(8)}
    survey = Survey(2)
    survey.add(boxes, 1)
    survey.add(boxes, 1)
    tally = Tally(survey.meanings())
    tally.add(boxes, boxes, 1)
    tally.add(boxes, {name: output[:-1] for name, output in boxes.items()}, 1)
    result = tally.result()
    assert [each.drop for each in result.outputs] == pytest.approx([0.5, 0.5])
    assert tally.comparable


def test_sequences_are_decoded_before_they_are_compared() -> None:
    """Greedy CTC: runs count once, and blanks not at all (Graves et al., 2006)."""
    a = np.array([[0, 3, 3, 0, 3, 5, 0, 0], [0, 1, 0, 2, 0, 0, 0, 0]])
    b = np.array([[3, 0, 3, 3, 0, 0, 0, 5], [0, 1, 0, 0, 0, 0, 0, 0]])
    meaning = OutputMeaning(kind="scores", axis=2, positions=True, blank=0, width=12)
    tally = Tally({"y": meaning})
    tally.add({"y": np.eye(12)[a]}, {"y": np.eye(12)[b]}, 2)
    (output,) = tally.result().outputs
    assert (output.metric, output.sequences, output.drop) == ("sequence agreement", 0.5, 0.5)
    assert output.agreement == np.mean(a == b)


def test_sequences_with_time_first_are_compared_by_sample() -> None:
    a = np.array([[0, 3, 3, 0, 3, 5, 0, 0], [0, 1, 0, 2, 0, 0, 0, 0], [7, 0, 7, 0, 0, 0, 0, 0]])
    b = np.array([[3, 0, 3, 3, 0, 0, 0, 5], [0, 1, 0, 0, 0, 0, 0, 0], [7, 7, 0, 7, 0, 0, 0, 0]])
    meaning = OutputMeaning(kind="scores", axis=2, batch_axis=1, positions=True, blank=0, width=12)
    tally = Tally({"y": meaning})
    tally.add({"y": np.eye(12)[a.T]}, {"y": np.eye(12)[b.T]}, 3)
    (output,) = tally.result().outputs
    assert output.sequences == pytest.approx(2 / 3)


def test_the_users_metric_comes_first() -> None:
    tally = Tally({"y": OutputMeaning(kind="scores", axis=1)})
    scores = np.eye(3)
    tally.add({"y": scores}, {"y": scores}, 3, np.array([0, 1, 2]))
    result = tally.result(CustomScores(name="recall", reference=0.9, candidate=0.65))
    assert (result.metric, result.drop, result.dense_score) == ("recall", pytest.approx(0.25), 0.9)
    assert result.standard_error is None


def test_few_samples_tell_little() -> None:
    def error(samples: int, agreed: int) -> float:
        found = compared(np.eye(2)[np.zeros(samples, int)], np.eye(2)[(np.arange(samples) >= agreed).astype(int)])
        assert found.agreement == agreed / samples
        return found.standard_error

    assert error(400, 360) == pytest.approx(math.sqrt(0.9 * 0.1 / 400), rel=0.01)
    assert error(16, 16) > 0.05, "none of 16 is no proof of none at all"
    assert compared([[1.0], [2.0]], [[1.0], [2.0]], "values").standard_error is None


def test_answers_are_counted_at_every_position() -> None:
    right = np.eye(3, dtype=np.float32)[[[0, 1], [2, 2]]]
    got = np.eye(3, dtype=np.float32)[[[0, 1], [2, 0]]]
    assert compared(right, got, "probabilities", labels=[0, 2]).agreement == 0.75
    assert compared(right, got, "probabilities", labels=[0, 2]).top1_candidate is None


def test_a_label_beyond_the_classes_is_an_error() -> None:
    with pytest.raises(DataError, match="label 2, the model has 2 classes"):
        compared([[0.0, 1.0]], [[0.0, 1.0]], labels=[2])


def test_largest_difference_is_over_all_batches_and_outputs() -> None:
    values = OutputMeaning(kind="values")
    tally = Tally({"a": values, "b": values})
    for value in (0.5, 3.0, 1.0):
        zeros, ones = np.zeros((2, 3, 1), np.float32), np.ones((2,), np.float32)
        tally.add({"a": zeros, "b": ones}, {"a": zeros - value, "b": ones}, 2)
    result = tally.result()
    assert result.max_abs == 3.0
    assert result.samples == 6
    assert result.agreement is None
    assert result.kl is None


def test_nothing_to_compare_is_no_success() -> None:
    tally = Tally({"i": OutputMeaning(kind="ignored")})
    tally.add({"i": np.arange(4).reshape(2, 2)}, {"i": np.zeros((2, 2), int)}, 2)
    result = tally.result()
    assert (result.agreement, result.cosine, result.relative_error) == (None, None, None)
    assert result.drop == math.inf


def test_outputs_that_are_not_finite_are_told() -> None:
    for kind in ("scores", "values", "embedding"):
        assert not compared([[1.0, 2.0]], [[np.nan, 2.0]], kind).finite
        assert not compared([[1.0, 2.0]], [[np.inf, 2.0]], kind).finite


def test_the_first_matrix_of_classes_holds_the_scores_in_every_batch() -> None:
    tally = Tally(
        {
            "z": OutputMeaning(kind="probabilities", axis=2, positions=True),
            "s": OutputMeaning(kind="scores", axis=1),
            "t": OutputMeaning(kind="scores", axis=1),
        }
    )
    for sign in (1, -1):
        outputs = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[1.0, 0.0]], np.float32)}
        others = {"z": np.zeros((1, 2, 2), np.float32), "s": np.array([[sign, 0.0]], np.float32)}
        extra = np.array([[0.0, 5.0]], np.float32)
        tally.add({**outputs, "t": extra}, {**others, "t": extra}, 1)
    assert tally.result().agreement == 0.5


@pytest.mark.parametrize("kind", ["scores", "values", "embedding"])
@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_a_model_whose_own_outputs_are_not_finite_agrees_with_itself(kind: OutputKind, bad: float) -> None:
    outputs = np.random.default_rng(0).standard_normal((5, 4))
    outputs[2, 1] = bad
    result = compared(outputs, outputs, kind)
    assert result.finite
    assert result.outputs[0].drop == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("expected", "got"), [(0.0, np.nan), (0.0, -np.inf), (-np.inf, np.nan)])
def test_what_only_the_candidate_makes_of_it_is_told(expected: float, got: float) -> None:
    reference, candidate = np.random.default_rng(0).standard_normal((2, 5, 4))
    reference[2, 1], candidate[2, 1] = expected, got
    assert not compared(reference, candidate).finite

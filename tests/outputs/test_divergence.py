"""How far outputs are apart, against the formulas written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import OutputDivergence, OutputKind

Array = np.ndarray[Any, np.dtype[Any]]


def batches(*shape: int, count: int = 3, seed: int = 0) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"y": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def divergence(reference: list[dict[str, Array]], kind: OutputKind) -> OutputDivergence:
    """Of the one output `y`."""
    return OutputDivergence(reference, {"y": kind})


def softmax(logits: Array) -> Array:
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def kl(p: Array, q: Array) -> float:
    """The mean over rows of the sum of ``p log(p / q)``."""
    rows = (p * np.log(p / q)).reshape(-1, p.shape[-1]).sum(axis=1)
    return float(rows.mean())


def joined(parts: list[dict[str, Array]]) -> Array:
    return np.concatenate([part["y"] for part in parts]).astype(np.float64)


def test_logits() -> None:
    expected, got = batches(5, 7), batches(5, 7, seed=1)
    found = divergence(expected, "scores")
    assert found.measure == "KL"
    assert found(got) == pytest.approx(kl(softmax(joined(expected)), softmax(joined(got))), rel=1e-6)
    assert found(expected) == 0


def test_logits_of_any_size() -> None:
    expected, got = ([{"y": 1e4 * part["y"]} for part in batches(5, 7, seed=seed)] for seed in (0, 1))
    assert math.isfinite(divergence(expected, "scores")(got))
    shifted = [{"y": part["y"] + np.float32(64)} for part in batches(5, 7)]
    assert divergence(batches(5, 7), "scores")(shifted) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7)])
def test_probabilities(shape: tuple[int, ...]) -> None:
    expected, got = ([{"y": softmax(part["y"])} for part in batches(*shape, seed=seed)] for seed in (0, 1))
    found = divergence(expected, "probabilities")
    assert found.measure == "KL"
    assert found(got) == pytest.approx(kl(joined(expected), joined(got)), rel=1e-5)


def test_probabilities_of_zero_are_no_infinity() -> None:
    expected = [{"y": np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)}]
    got = [{"y": np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)}]
    assert 1 < divergence(expected, "probabilities")(got) < 10
    assert divergence(got, "probabilities")(expected) == pytest.approx(0.5 * math.log(2), rel=1e-6)


def test_logits_of_classes_that_are_masked_out() -> None:
    """A probability of 0 adds nothing, whatever the other model says of it."""
    expected = [{"y": np.array([[0.0, 0.0, -np.inf]], np.float32)}]
    assert divergence(expected, "scores")(expected) == 0
    got = [{"y": np.array([[0.0, math.log(3), -np.inf]], np.float32)}]
    wanted = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert divergence(expected, "scores")(got) == pytest.approx(wanted, rel=1e-6)


def test_float_noise_never_goes_below_zero() -> None:
    """Rows that add up to a little more than 1 have a KL divergence below 0 from what adds up to 1."""
    expected = [{"y": np.array([[0.2, 0.8]], np.float32)}]
    got = [{"y": np.array([[0.2, 0.8]], np.float32) * np.float32(1 + 1e-6)}]
    assert float(np.sum(expected[0]["y"] * np.log(expected[0]["y"] / got[0]["y"]))) < 0
    assert divergence(expected, "probabilities")(got) == 0


@pytest.mark.parametrize("shape", [(5, 3, 4), (2, 3, 4, 4), (9,)])
def test_values(shape: tuple[int, ...]) -> None:
    expected, got = batches(*shape), batches(*shape, seed=1)
    found = divergence(expected, "values")
    assert found.measure == "relative error"
    a, b = joined(expected), joined(got)
    assert found(got) == pytest.approx(np.mean((a - b) ** 2) / np.var(a), rel=1e-5)


@pytest.mark.parametrize("width", [1, 7])
def test_columns_of_values_vary_around_their_own_means(width: int) -> None:
    """One minus R2, as a regression is judged: columns that lie far apart hide nothing."""
    apart = np.float32(100) * np.arange(width, dtype=np.float32)
    expected, got = ([{"y": part["y"] + apart} for part in batches(5, width, seed=seed)] for seed in (0, 1))
    a, b = joined(expected), joined(got)
    assert divergence(expected, "values")(got) == pytest.approx(
        np.sum((a - b) ** 2) / np.sum((a - a.mean(axis=0)) ** 2), rel=1e-5
    )


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7)])
def test_embeddings(shape: tuple[int, ...]) -> None:
    """Directions alone count: twice one minus the cosine, the squared distance at length 1."""
    expected, got = batches(*shape), [{"y": 3 * part["y"]} for part in batches(*shape, seed=1)]
    found = divergence(expected, "embedding")
    assert found.measure == "relative error"
    a, b = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (joined(expected), joined(got)))
    assert found(got) == pytest.approx(np.mean(np.sum((a - b) ** 2, axis=-1)), rel=1e-6)
    assert found([{"y": 2 * part["y"]} for part in expected]) == pytest.approx(0, abs=1e-12)
    assert found([{"y": 0 * part["y"]} for part in expected]) == 2
    assert found([{"y": np.nan * part["y"]} for part in expected]) == math.inf


def test_batches_count_by_their_rows() -> None:
    expected = [*batches(5, 7, count=1), *batches(2, 7, count=1, seed=3)]
    got = [*batches(5, 7, count=1, seed=1), *batches(2, 7, count=1, seed=4)]
    wanted = kl(softmax(joined(expected)), softmax(joined(got)))
    assert divergence(expected, "scores")(got) == pytest.approx(wanted, rel=1e-6)
    first = kl(softmax(joined(expected[:1])), softmax(joined(got[:1])))
    assert divergence(expected, "scores")(got[:1]) == pytest.approx(first, rel=1e-6)
    assert divergence(expected, "scores").between(got[:1], expected[:1]) == pytest.approx(
        kl(softmax(joined(got[:1])), softmax(joined(expected[:1]))), rel=1e-6
    )


def test_several_outputs_are_added_up_and_those_without_a_kind_left_out() -> None:
    def both(seed: int) -> list[dict[str, Array]]:
        rng = np.random.default_rng(seed)
        logits, values = rng.standard_normal((2, 5, 3)).astype(np.float32)
        return [{"y": logits, "z": values[:, :1], "n": rng.integers(0, 9, (5, 3))}]

    kinds: dict[str, OutputKind] = {"y": "scores", "z": "values"}
    total = OutputDivergence(both(0), kinds)(both(1))
    assert total == pytest.approx(sum(OutputDivergence(both(0), {name: kinds[name]})(both(1)) for name in kinds))
    assert not OutputDivergence(both(0), {}).usable


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("shape", "kind"), [((5, 7), "scores"), ((5, 3, 7), "values")])
def test_what_is_not_finite_is_infinitely_far(bad: float, shape: tuple[int, ...], kind: OutputKind) -> None:
    got = batches(*shape)
    got[1]["y"][1, 1] = bad
    assert divergence(batches(*shape), kind)(got) == math.inf


@pytest.mark.parametrize(("shape", "kind"), [((5, 7), "scores"), ((5, 3, 7), "values"), ((5, 7), "embedding")])
def test_another_number_of_boxes_counts_as_one_each(shape: tuple[int, ...], kind: OutputKind) -> None:
    """As much as outputs that are one variance off, or one nat: half of all rows here."""
    expected = batches(*shape, count=2)
    got = [expected[0], {"y": expected[1]["y"][:-1]}]
    assert divergence(expected, kind)(got) == pytest.approx(0.5)


def test_values_that_never_were_finite_count_for_nothing() -> None:
    expected, got = batches(5, 3, 4, count=1), batches(5, 3, 4, count=1, seed=1)
    before = divergence(expected, "values")(got) * 60 * np.var(expected[0]["y"])
    expected[0]["y"][0, 0, 0] = -np.inf
    difference = float((batches(5, 3, 4, count=1)[0]["y"] - got[0]["y"])[0, 0, 0])
    rest = expected[0]["y"].reshape(-1)[1:]
    wanted = (before - difference**2) / 60 / np.var(rest)
    assert divergence(expected, "values")(got) == pytest.approx(wanted, rel=1e-5)


def test_half_precision_and_constant_outputs() -> None:
    half = [{"y": part["y"].astype(np.float16)} for part in batches(5, 7)]
    assert divergence(half, "scores")(half) == 0
    constant = [{"y": np.ones((4, 1), np.float32)}]
    assert divergence(constant, "values")(constant) == 0
    assert math.isfinite(divergence(constant, "values")([{"y": np.zeros((4, 1), np.float32)}]))


def test_answers_that_change() -> None:
    expected = [{"y": np.eye(4, dtype=np.float32)}, {"y": np.eye(4, dtype=np.float32)}]
    got = [{"y": np.eye(4, dtype=np.float32)}, {"y": np.eye(4, dtype=np.float32)[[0, 1, 3, 2]]}]
    assert divergence(expected, "scores").changed_answers(got) == 0.25
    assert divergence(expected, "values").changed_answers(got) is None
    assert divergence(expected, "embedding").changed_answers(got) is None

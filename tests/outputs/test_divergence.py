"""How far outputs are apart, against the formulas written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import OutputDivergence

Array = np.ndarray[Any, np.dtype[Any]]


def batches(*shape: int, count: int = 3, seed: int = 0) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"y": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


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
    divergence = OutputDivergence(expected)
    assert divergence.is_kl
    assert divergence(got) == pytest.approx(kl(softmax(joined(expected)), softmax(joined(got))), rel=1e-6)
    assert divergence(expected) == 0


def test_logits_of_any_size() -> None:
    expected, got = ([{"y": 1e4 * part["y"]} for part in batches(5, 7, seed=seed)] for seed in (0, 1))
    divergence = OutputDivergence(expected)
    assert math.isfinite(divergence(got))
    shifted = [{"y": part["y"] + np.float32(64)} for part in batches(5, 7)]
    assert OutputDivergence(batches(5, 7))(shifted) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7)])
def test_probabilities(shape: tuple[int, ...]) -> None:
    expected, got = ([{"y": softmax(part["y"])} for part in batches(*shape, seed=seed)] for seed in (0, 1))
    divergence = OutputDivergence(expected)
    assert divergence.is_kl
    assert divergence(got) == pytest.approx(kl(joined(expected), joined(got)), rel=1e-5)


def test_probabilities_of_zero_are_no_infinity() -> None:
    expected = [{"y": np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)}]
    got = [{"y": np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)}]
    value = OutputDivergence(expected)(got)
    assert 1 < value < 10
    assert OutputDivergence(got)(expected) == pytest.approx(0.5 * math.log(2), rel=1e-6)


def test_logits_of_classes_that_are_masked_out() -> None:
    """A probability of 0 adds nothing, whatever the other model says of it."""
    expected = [{"y": np.array([[0.0, 0.0, -np.inf]], np.float32)}]
    assert OutputDivergence(expected)(expected) == 0
    got = [{"y": np.array([[0.0, math.log(3), -np.inf]], np.float32)}]
    assert OutputDivergence(expected)(got) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-6)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 4), (2, 3, 4, 4)])
def test_values(shape: tuple[int, ...]) -> None:
    expected, got = batches(*shape), batches(*shape, seed=1)
    divergence = OutputDivergence(expected)
    assert not divergence.is_kl
    a, b = joined(expected), joined(got)
    assert divergence(got) == pytest.approx(np.mean((a - b) ** 2) / np.var(a), rel=1e-5)


def test_batches_count_by_their_rows() -> None:
    expected = [*batches(5, 7, count=1), *batches(2, 7, count=1, seed=3)]
    got = [*batches(5, 7, count=1, seed=1), *batches(2, 7, count=1, seed=4)]
    wanted = kl(softmax(joined(expected)), softmax(joined(got)))
    assert OutputDivergence(expected)(got) == pytest.approx(wanted, rel=1e-6)
    first = kl(softmax(joined(expected[:1])), softmax(joined(got[:1])))
    assert OutputDivergence(expected)(got[:1]) == pytest.approx(first, rel=1e-6)


def test_several_outputs_are_added_up_and_whole_numbers_left_out() -> None:
    def both(seed: int) -> list[dict[str, Array]]:
        rng = np.random.default_rng(seed)
        logits, values = rng.standard_normal((2, 5, 3)).astype(np.float32)
        return [{"y": logits, "z": values[:, :1], "n": rng.integers(0, 9, (5, 3))}]

    def only(name: str, parts: list[dict[str, Array]]) -> list[dict[str, Array]]:
        return [{name: part[name]} for part in parts]

    total = OutputDivergence(both(0))(both(1))
    parts = [OutputDivergence(only(name, both(0)))(only(name, both(1))) for name in "yz"]
    assert total == pytest.approx(sum(parts))
    assert not OutputDivergence(only("n", both(0))).usable


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 7)])
def test_what_is_not_finite_is_infinitely_far(bad: float, shape: tuple[int, ...]) -> None:
    got = batches(*shape)
    got[1]["y"][1, 1] = bad
    assert OutputDivergence(batches(*shape))(got) == math.inf


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 7)])
def test_another_number_of_boxes_counts_as_one_each(shape: tuple[int, ...]) -> None:
    """As much as outputs that are one variance off, or one nat: half of all rows here."""
    expected = batches(*shape, count=2)
    got = [expected[0], {"y": expected[1]["y"][:-1]}]
    assert OutputDivergence(expected)(got) == pytest.approx(0.5)


def test_values_that_never_were_finite_count_for_nothing() -> None:
    expected, got = batches(5, 3, 4, count=1), batches(5, 3, 4, count=1, seed=1)
    before = OutputDivergence(expected)(got) * 60 * np.var(expected[0]["y"])
    expected[0]["y"][0, 0, 0] = -np.inf
    difference = float((batches(5, 3, 4, count=1)[0]["y"] - got[0]["y"])[0, 0, 0])
    rest = expected[0]["y"].reshape(-1)[1:]
    assert OutputDivergence(expected)(got) == pytest.approx((before - difference**2) / 60 / np.var(rest), rel=1e-5)


def test_half_precision_and_constant_outputs() -> None:
    half = [{"y": part["y"].astype(np.float16)} for part in batches(5, 7)]
    assert OutputDivergence(half)(half) == 0
    constant = [{"y": np.ones((4, 1), np.float32)}]
    assert OutputDivergence(constant)(constant) == 0
    assert math.isfinite(OutputDivergence(constant)([{"y": np.zeros((4, 1), np.float32)}]))


def test_answers_that_change() -> None:
    expected = [{"y": np.eye(4, dtype=np.float32)}, {"y": np.eye(4, dtype=np.float32)}]
    got = [{"y": np.eye(4, dtype=np.float32)}, {"y": np.eye(4, dtype=np.float32)[[0, 1, 3, 2]]}]
    assert OutputDivergence(expected).changed_answers(got) == 0.25
    assert OutputDivergence(batches(5, 1)).changed_answers(batches(5, 1)) is None


def test_embeddings_are_no_class_scores() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((32, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    divergence = OutputDivergence([{"embedding": vectors}])
    assert not divergence.is_kl
    assert divergence.changed_answers([{"embedding": vectors}]) is None
    assert OutputDivergence([{"scores": 20 * vectors}]).is_kl

"""How far outputs are apart, against the formulas written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import OutputDivergence, OutputKind, OutputMeaning, Survey

Array = np.ndarray[Any, np.dtype[Any]]


def batches(*shape: int, count: int = 3, seed: int = 0) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"y": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def meanings(reference: list[dict[str, Array]], kinds: dict[str, OutputKind]) -> dict[str, OutputMeaning]:
    survey = Survey(len(reference), kinds)
    for batch in reference:
        survey.add(batch, len(next(iter(batch.values()))))
    return {name: found for name, found in survey.meanings().items() if name in kinds}


class Divergence:
    """Of the one output `y`."""

    def __init__(self, reference: list[dict[str, Array]], kind: OutputKind) -> None:
        self._reference = reference
        self.meaning = meanings(reference, {"y": kind})["y"]

    def __call__(self, got: list[dict[str, Array]]) -> float:
        return OutputDivergence({"y": self.meaning})(self._reference, got)


divergence = Divergence


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
    a, b = joined(expected), joined(got)
    axis = found.meaning.axis
    others = tuple(place for place in range(a.ndim) if place != axis) if axis is not None else None
    wanted = np.mean(np.mean((a - b) ** 2, axis=others) / np.var(a, axis=others))
    assert found(got) == pytest.approx(2 * (1 + math.log(wanted / 2)) if wanted > 2 else wanted, rel=0.05)
    near = [{"y": part["y"] + np.float32(0.1)} for part in expected]
    assert found(near) == pytest.approx(np.mean(0.01 / np.var(a, axis=others)), rel=1e-3)


@pytest.mark.parametrize("width", [1, 7])
def test_columns_of_values_vary_around_their_own_means(width: int) -> None:
    """One minus R2, as a regression is judged: columns that lie far apart hide nothing."""
    apart = np.float32(100) * np.arange(width, dtype=np.float32)
    expected, got = ([{"y": part["y"] + apart} for part in batches(5, width, seed=seed)] for seed in (0, 1))
    a, b = joined(expected), joined(got)
    wanted = np.mean((a - b) ** 2, axis=0) / np.var(a, axis=0)
    wanted = np.where(wanted > 2, 2 + 2 * np.log(wanted / 2), wanted)
    assert divergence(expected, "values")(got) == pytest.approx(wanted.mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7)])
def test_embeddings(shape: tuple[int, ...]) -> None:
    """Directions alone count: twice one minus the cosine, the squared distance at length 1."""
    expected, got = batches(*shape), [{"y": 3 * part["y"]} for part in batches(*shape, seed=1)]
    found = divergence(expected, "embedding")
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


def test_several_outputs_are_added_up_and_those_without_a_kind_left_out() -> None:
    def both(seed: int) -> list[dict[str, Array]]:
        rng = np.random.default_rng(seed)
        logits, values = rng.standard_normal((2, 5, 3)).astype(np.float32)
        return [{"y": logits, "z": values[:, :1], "n": rng.integers(0, 9, (5, 3))}]

    kinds: dict[str, OutputKind] = {"y": "scores", "z": "values"}
    found = meanings(both(0), {**kinds, "n": "exact"})
    total = OutputDivergence(found)(both(0), both(1))
    assert total == pytest.approx(sum(OutputDivergence({name: found[name]})(both(0), both(1)) for name in kinds))
    assert not OutputDivergence({"n": found["n"]}).usable
    assert not OutputDivergence({"y": OutputMeaning(kind="ignored")}).usable


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
    expected, got = batches(5, 3, count=1), batches(5, 3, count=1, seed=1)
    expected[0]["y"][0, 0] = -np.inf
    a, b = (part["y"].astype(np.float64) for part in (expected[0], got[0]))
    columns = [(a[1:, 0], b[1:, 0]), (a[:, 1], b[:, 1]), (a[:, 2], b[:, 2])]
    wanted = [np.mean((x - y) ** 2) / np.var(x) for x, y in columns]
    wanted = [2 + 2 * math.log(each / 2) if each > 2 else each for each in wanted]
    assert divergence(expected, "values")(got) == pytest.approx(np.mean(wanted), rel=1e-5)


def test_one_channel_that_hardly_varies_outweighs_no_other() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 2)) * (1, 1e-2)
    found = divergence([{"y": a}], "values")
    worse = found([{"y": a + np.array([0, 10])}])
    assert found([{"y": a + np.array([0, 1])}]) < worse < 20, "it is a million variances off"


def test_boxes_in_pixels_do_not_drown_scores_of_classes() -> None:
    """Losing all scores of one class of three costs a sixth of 1 or more, whatever the boxes are."""
    rng = np.random.default_rng(0)
    shares = rng.random((20, 3, 100)) ** 8
    a = np.concatenate([rng.uniform(0, 320, (20, 4, 100)), shares], axis=1)
    b = a.copy()
    b[:, 5] = 0
    lost = np.mean(a[:, 5] ** 2) / np.var(a[:, 5]) / 7
    assert divergence([{"y": a}], "values")([{"y": b}]) == pytest.approx(lost, rel=1e-6)


def test_half_precision_and_constant_outputs() -> None:
    half = [{"y": part["y"].astype(np.float16)} for part in batches(5, 7)]
    assert divergence(half, "scores")(half) == 0
    constant = [{"y": np.ones((4, 1), np.float32)}]
    assert divergence(constant, "values")(constant) == 0
    assert math.isfinite(divergence(constant, "values")([{"y": np.zeros((4, 1), np.float32)}]))


@pytest.mark.parametrize("kind", ["scores", "probabilities", "embedding"])
def test_rows_that_the_reference_leaves_undefined_count_for_nothing(kind: OutputKind) -> None:
    rows = softmax(joined(batches(6, 7)))
    expected, got = rows.copy(), np.roll(rows, 1, axis=1)
    expected[4] = np.nan
    whole = divergence([{"y": rows}], kind)
    assert whole([{"y": got}]) > 0
    undefined = OutputDivergence({"y": whole.meaning})([{"y": expected}], [{"y": got}])
    without = OutputDivergence({"y": whole.meaning})([{"y": np.delete(rows, 4, 0)}], [{"y": np.delete(got, 4, 0)}])
    assert undefined == pytest.approx(without * 17 / 18)

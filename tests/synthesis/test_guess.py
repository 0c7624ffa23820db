"""The criteria against their formulas, and the choice between preparations."""

from __future__ import annotations

import numpy as np
import pytest

from domino_onnx.outputs import Outputs
from domino_onnx.synthesis.guess import guess_preparation, information, spread, variety
from domino_onnx.synthesis.preparation import Preparation, image_preparations

CANDIDATES = image_preparations(3, np.dtype(np.float32))


def _named(words: str) -> Preparation:
    return next(each for each in CANDIDATES if each.words == words)


def _answers(sure: float) -> Outputs:
    """Logits of 48 samples, each of them for one of 12 classes, more or less surely."""
    noise = np.random.default_rng(0).standard_normal((48, 12))
    return {"logits": sure * np.eye(12)[np.arange(48) % 12] + 0.3 * noise}


def test_information_is_0_for_equal_answers_and_log_n_for_n_different_ones() -> None:
    same = np.tile([0.7, 0.2, 0.1], (5, 1))
    assert information(same, "probabilities") == pytest.approx(0, abs=1e-9)
    assert information(np.eye(6), "probabilities") == pytest.approx(np.log(6), abs=1e-6)
    assert information(1000 * np.eye(6), "scores") == pytest.approx(np.log(6), abs=1e-6)


def test_information_is_the_mutual_information_of_a_table() -> None:
    """With two equally likely samples: the sum of p(x, y) log p(x, y) / p(x) p(y)."""
    rows = np.array([[0.9, 0.1], [0.4, 0.6]])
    joint = rows / 2
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    assert information(rows, "probabilities") == pytest.approx(np.sum(joint * np.log(joint / apart)), abs=1e-6)


def test_spread_is_the_entropy_of_the_mean_answer() -> None:
    rows = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
    assert spread(rows, "probabilities") == pytest.approx(np.log(2), abs=1e-6)
    assert spread(np.zeros((3, 8)), "scores") == pytest.approx(np.log(8), abs=1e-6)


def test_variety_counts_directions() -> None:
    assert variety({"y": np.eye(5)}) == pytest.approx(5, rel=1e-6)
    assert variety({"y": np.tile([1.0, 2.0], (5, 1)) * np.arange(1, 6)[:, None]}) == pytest.approx(1, rel=1e-6)
    assert variety({"y": np.array([[1.0, 0], [2, 0], [0, 1], [0, 3]])}) == pytest.approx(2, rel=1e-6)
    assert variety({"y": np.full((3, 2), np.nan)}) == 1


@pytest.mark.parametrize("right", ["-1..1", "0..255", "BGR less Caffe's means"])
def test_the_preparation_that_tells_samples_apart_is_chosen(right: str) -> None:
    def run(preparation: Preparation) -> Outputs:
        return _answers(8.0 if preparation.words == right else 0.5)

    guess = guess_preparation(run, CANDIDATES)
    assert guess.chosen.words == right
    assert guess.measure == "answers"
    assert guess.words.startswith(f"inputs look like {right} (2nd: ")
    assert set(guess.criteria) == {each.words for each in CANDIDATES}


def test_of_nearly_equal_ones_the_more_usual_is_chosen() -> None:
    def run(preparation: Preparation) -> Outputs:
        return _answers({"0..1": 8.0, "-128..127": 8.1}.get(preparation.words, 0.1))

    guess = guess_preparation(run, CANDIDATES)
    assert guess.chosen.words == "0..1"
    assert guess.runner_up == _named("-128..127")


def test_without_classes_activations_must_be_varied() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((48, 4, 6, 6))

    def run(preparation: Preparation) -> Outputs:
        own = 1.0 if preparation.words == "-1..1" else 0.05
        return {"map": own * vectors + 1}

    guess = guess_preparation(run, CANDIDATES)
    assert guess.chosen.words == "-1..1"
    assert guess.measure == "variety"


@pytest.mark.parametrize(
    ("words", "black", "white"),
    [
        ("-1..1", (-1, -1, -1), (1, 1, 1)),
        ("0..1", (0, 0, 0), (1, 1, 1)),
        ("0..255", (0, 0, 0), (255, 255, 255)),
        ("ImageNet-normalised RGB", (-2.1179, -2.0357, -1.8044), (2.2489, 2.4286, 2.64)),
        ("BGR less Caffe's means", (-103.939, -116.779, -123.68), (151.061, 138.221, 131.32)),
    ],
)
def test_black_and_white_become_what_training_code_makes_of_them(
    words: str, black: tuple[float, ...], white: tuple[float, ...]
) -> None:
    planes = np.stack([np.zeros((3, 1, 1)), np.full((3, 1, 1), 255)]).astype(np.float32)
    np.testing.assert_allclose(_named(words)(planes)[:, :, 0, 0], [black, white], atol=1e-3)


def test_blue_comes_first_where_it_should() -> None:
    red = np.array([255, 0, 0], np.float32).reshape(3, 1, 1)
    assert _named("BGR less Caffe's means")(red).argmax() == 2


def test_integers_are_pixels() -> None:
    (only,) = image_preparations(3, np.dtype(np.uint8))
    assert only.words == "0..255"


def test_wide_feature_maps_are_no_classes() -> None:
    """Rows of a million columns would take gigabytes to be compared with chance."""
    wide = np.random.default_rng(0).standard_normal((16, 1 << 20)).astype(np.float32)
    guess = guess_preparation(lambda _: {"map": wide, "logits": np.asarray(_answers(8.0)["logits"])}, CANDIDATES[:2])
    assert guess.measure == "answers"
    assert guess_preparation(lambda _: {"map": wide}, CANDIDATES[:2]).chosen is CANDIDATES[0]

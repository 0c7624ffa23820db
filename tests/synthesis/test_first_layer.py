"""What a first convolution tells of its images, against normal distributions and models whose images are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.data import input_specs
from domino_onnx.graph import read_model
from domino_onnx.synthesis import open_synthesis
from domino_onnx.synthesis.first_layer import FirstLayer, first_layer
from domino_onnx.synthesis.guess import guess_preparation, nearest_preparation
from domino_onnx.synthesis.pictures import draw_picture
from domino_onnx.synthesis.preparation import Preparation, image_preparations

_NODE = helper.make_node
_RANDOM = np.random.default_rng(7)
WEIGHT = _RANDOM.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5
WAYS = image_preparations(3, np.dtype(np.float32))
Make = Callable[..., ModelProto]
Save = Callable[..., Path]


def way(words: str) -> Preparation:
    return next(each for each in WAYS if each.words == words)


def ones(deviation: float, mean: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(4, 1, 8, 8) values of exactly this mean and deviation."""
    signs = np.tile(np.array([1, -1], np.float32), 128).reshape(4, 1, 8, 8)
    return mean + deviation * signs


@pytest.mark.parametrize(
    ("deviation", "mean", "nats"),
    [(3.0, 2.0, 0.0), (6.0, 2.0, 1.5 - np.log(2)), (3.0, 5.0, 0.5), (1.5, 2.0, -0.375 + np.log(2))],
)
def test_the_misfit_is_the_divergence_of_two_normal_distributions(deviation: float, mean: float, nats: float) -> None:
    """Of results around 2, with a deviation of 3 in training."""
    one = np.ones((1, 1, 1, 1))
    layer = FirstLayer(weight=2 * one, bias=np.array([4.0]), mean=np.array([2.0]), deviation=np.array([3.0]))
    assert layer.misfit(ones(deviation / 2, (mean - 4) / 2)) == pytest.approx(nats, abs=1e-6)


def test_the_strength_compares_results_with_biases() -> None:
    layer = FirstLayer(weight=np.array([3.0, 1.0, 5.0]).reshape(3, 1, 1, 1), bias=np.array([1.5, -0.5, 0.0]))
    assert layer.strength(ones(0.5, 9.0)) == pytest.approx(1, rel=1e-6)
    assert layer.strength(ones(50, 9.0)) == pytest.approx(100, rel=1e-6)


def _statistics(planes: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, object]:
    """Of BatchNormalization behind the convolution, over all places of these images."""
    size = planes.shape[-1] - 2
    results = sum(
        np.einsum("nchw,oc->ohwn", planes[:, :, i : i + size, j : j + size], WEIGHT[:, :, i, j])
        for i in range(3)
        for j in range(3)
    ).reshape(8, -1)
    values = {"mean": results.mean(axis=1), "var": results.var(axis=1), "scale": np.ones(8), "shift": np.zeros(8)}
    return {"w": WEIGHT} | {name: value.astype(np.float32) for name, value in values.items()}


def pictures(count: int = 40) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.stack([draw_picture(np.random.default_rng([5, each]), 16, 16, 3) for each in range(count)])


@pytest.fixture
def normalised(make_model: Make, save: Save) -> Callable[[str, bool], Path]:
    """A convolution with BatchNormalization that was trained on images prepared in one way."""

    def made(words: str, channels_last: bool) -> Path:
        nodes = [
            _NODE("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]) if channels_last else _NODE("Identity", ["x"], ["t"]),
            _NODE("Conv", ["t", "w"], ["c"]),
            _NODE("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["b"]),
            _NODE("GlobalAveragePool", ["b"], ["p"]),
            _NODE("Flatten", ["p"], ["y"]),
        ]
        shape = ["n", 16, 16, 3] if channels_last else ["n", 3, 16, 16]
        return save(make_model(nodes, {"x": shape}, {"y": ["n", 8]}, _statistics(way(words)(pictures()))))

    return made


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("words", ["-1..1", "ImageNet-normalised RGB", "0..255", "-0.5..0.5"])
def test_a_normalisation_tells_how_images_were_prepared(
    normalised: Callable[[str, bool], Path], words: str, channels_last: bool
) -> None:
    pytest.importorskip("onnxruntime")
    from domino_onnx.runtime import Session

    file = read_model(normalised(words, channels_last))
    synthesis = open_synthesis(file, input_specs(file.proto), seed=3, run=Session(file.path, threads=1).run)
    (drawn,) = synthesis.inputs
    assert drawn.preparation is not None
    assert drawn.preparation.words == words


def test_the_nearest_of_all_ways_is_the_true_one(normalised: Callable[[str, bool], Path]) -> None:
    layer = first_layer(read_model(normalised("BGR less Caffe's means", False)), "x", (3, 16, 16))
    assert layer is not None
    guess = nearest_preparation(layer, pictures(), WAYS)
    assert guess.chosen.words == "BGR less Caffe's means"
    assert guess.measure == "normalisation"
    assert guess.criteria[guess.chosen.words] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    "nodes",
    [
        [_NODE("Mul", ["x", "half"], ["t"]), _NODE("Conv", ["t", "w", "b"], ["y"])],
        [_NODE("Conv", ["x", "w", "b"], ["y"], dilations=[2, 2])],
        [_NODE("Conv", ["x", "w"], ["y"])],
        [_NODE("Relu", ["x"], ["t"]), _NODE("Add", ["x", "t"], ["y"])],
    ],
    ids=["scaled in the graph", "dilated", "without a bias", "no convolution"],
)
def test_other_layers_tell_nothing(make_model: Make, save: Save, nodes: list[object]) -> None:
    tensors = {"w": WEIGHT, "b": np.ones(8, np.float32), "half": np.float32(0.5)}
    path = save(make_model(nodes, {"x": ["n", 3, 16, 16]}, {"y": ["n", "c", "h", "w"]}, tensors))
    assert first_layer(read_model(path), "x", (3, 16, 16)) is None


def test_a_kernel_larger_than_the_image_tells_nothing(make_model: Make, save: Save) -> None:
    node = _NODE("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    tensors = {"w": WEIGHT, "b": np.ones(8, np.float32)}
    path = save(make_model([node], {"x": ["n", 3, 2, 2]}, {"y": ["n", 8, 2, 2]}, tensors))
    assert first_layer(read_model(path), "x", (3, 2, 2)) is None


def test_strength_decides_where_answers_are_few_and_not_where_they_are_many() -> None:
    strengths = {each: 200.0 if each.scale == 1 else 1.1 for each in WAYS}

    def run(classes: int) -> Callable[[Preparation], dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]:
        noise = np.random.default_rng(0).standard_normal((48, classes))
        sure = np.eye(classes)[np.arange(48) % classes]
        return lambda each: {"logits": (8.0 if each.words == "0..255" else 0.5) * sure + 0.3 * noise}

    assert guess_preparation(run(2), WAYS, strengths.__getitem__).chosen.scale != 1
    assert guess_preparation(run(12), WAYS, strengths.__getitem__).chosen.words == "0..255"

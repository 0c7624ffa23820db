"""What outputs are taken for: classifiers, regression heads, embeddings and probabilities, drawn and trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import class_output, decide_kinds, spread_outputs
from domino_onnx.outputs.evidence import have_winners

Array = np.ndarray[Any, np.dtype[Any]]
SEEDS = range(5)


def kind(output: Array, labels: Array | None = None, batches: int = 3) -> str | None:
    """Of an output that comes in several batches."""
    return decide_kinds([{"y": part} for part in np.array_split(output, batches)], labels).get("y")


def scores(seed: int, classes: int, samples: int = 256) -> tuple[Array, Array]:
    """Logits as a trained classifier gives them: noise, and the label's column above it, more or less surely."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = 2 * rng.standard_normal((samples, classes))
    logits[np.arange(samples), labels] += 8 + 3 * rng.standard_normal(samples)
    return logits.astype(np.float32), labels


def head(seed: int, width: int, samples: int = 512) -> Array:
    """What a network of random weights makes of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, 12)) @ rng.standard_normal((12, 64)) + 0.3 * rng.standard_normal((samples, 64))
    for outputs in (256, 256):
        x = np.maximum(x @ (rng.standard_normal((x.shape[1], outputs)) * np.sqrt(2 / x.shape[1])), 0)
    return (x @ (rng.standard_normal((256, width)) * np.sqrt(2 / 256))).astype(np.float32)


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 10, 50, 200, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_class_scores(seed: int, classes: int) -> None:
    logits, labels = scores(seed, classes)
    assert kind(logits) == "scores"
    assert kind(logits, labels) == "scores"
    assert kind(softmax(logits)) == "probabilities"
    assert kind(np.log(softmax(logits))) == "scores"


@pytest.mark.parametrize("width", [2, 3, 10, 32, 128, 512])
@pytest.mark.parametrize("seed", SEEDS)
def test_regression_heads(seed: int, width: int) -> None:
    values = head(seed, width)
    rng = np.random.default_rng(seed)
    assert kind(values) == "values"
    assert kind(100 * values) == "values", "a large scale decides the softmax, and nothing else"
    assert kind(values - values.mean(axis=0)) == "values"
    assert kind(values + 9 * rng.standard_normal(width)) == "values", "columns of different sizes"
    assert kind(np.maximum(values, 0)) == "values"
    assert kind(values, rng.integers(0, width, len(values))) == "values", "labels that have nothing to do with it"


@pytest.mark.parametrize("seed", SEEDS)
def test_embeddings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert kind(unit(head(seed, 128))) == "embedding"
    assert kind(unit(np.maximum(head(seed, 256), 0) + 1e-3)) == "embedding"
    assert kind(20 * unit(rng.standard_normal((64, 384)))) == "embedding"
    assert kind(unit(rng.standard_normal((8, 7, 16)))) == "embedding", "one a position"
    assert kind(unit(rng.standard_normal((2, 16))), batches=1) == "embedding"
    assert kind(3 * unit(rng.standard_normal((2, 16))), batches=1) == "values", "two equal lengths may be an accident"
    assert kind(unit(rng.standard_normal((64, 2)))) == "values"


def test_probabilities_of_any_rank() -> None:
    logits = np.random.default_rng(0).standard_normal((6, 3, 5))
    assert kind(softmax(logits)) == "probabilities"
    assert kind(softmax(logits).astype(np.float16)) == "probabilities"
    assert kind(logits) == "values"
    assert kind(np.log(softmax(logits))) == "scores"


def test_what_one_batch_looks_like_does_not_count() -> None:
    """Four rows of a regression head may well look decided, and one row of any output adds up to something."""
    rows = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert decide_kinds([{"y": rows}])["y"] == "probabilities"
    assert decide_kinds([{"y": rows}, {"y": rows + 1}])["y"] == "values"


def test_labels_tell_scores_that_do_not_show_it() -> None:
    """Uncertain scores of few samples; not where labels can't be columns."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    weak = rng.standard_normal((200, 10))
    weak[np.arange(200), labels] += 1
    assert kind(weak) == "values"
    assert kind(weak, labels) == "scores"
    assert kind(weak, labels + 10) == "values"
    assert kind(weak[:, :9], labels) == "values"
    assert kind(10 * unit(weak), labels) == "scores", "cosines of classes, all of one length"


def test_one_winner_for_all_is_none() -> None:
    logits, _ = scores(0, 10)
    assert kind(logits + 100 * np.eye(10)[0]) == "values"


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 3, 4), (2, 3, 4, 4)])
def test_other_shapes_are_values(shape: tuple[int, ...]) -> None:
    assert kind(np.random.default_rng(0).standard_normal(shape).astype(np.float32), batches=1) == "values"


def test_what_cannot_be_compared_has_no_kind() -> None:
    outputs = {"n": np.arange(6).reshape(2, 3), "e": np.zeros((0, 4), np.float32), "b": np.ones(3, bool), "s": [1.0]}
    assert decide_kinds([outputs]) == {}  # type: ignore[list-item]


def test_scores_with_masked_classes() -> None:
    logits, _ = scores(0, 10)
    logits[:, 3] = -np.inf
    assert kind(logits) == "scores"


def test_rows_of_different_widths_are_values() -> None:
    parts = [{"y": scores(0, width)[0]} for width in (10, 12)]
    assert decide_kinds(parts) == {"y": "values"}


def test_the_output_whose_answers_count() -> None:
    outputs = {"v": np.zeros((4, 2)), "p": np.zeros((4, 3, 2)), "s": np.zeros((4, 2)), "t": np.zeros((4, 9))}
    kinds: Any = {"v": "values", "p": "probabilities", "s": "scores", "t": "scores"}
    assert class_output(kinds, outputs) == "s"
    assert class_output(kinds, outputs, samples=5) == "p"
    assert class_output({"v": "values"}, outputs) is None


def test_batches_are_spread_over_the_data() -> None:
    ran: list[int] = []

    def run(place: int, size: int = 4) -> dict[str, Array]:
        ran.append(place)
        return {"y": np.full(size, place, np.float32)}

    assert [*spread_outputs(100, 32, run)] == ran
    assert len(ran) == 32
    assert (ran[0], ran[-1]) == (0, 96)
    assert [*spread_outputs(3, 32, run)] == [0, 1, 2]
    assert [*spread_outputs(9, 5000, run)] == [0]
    half = (128 << 20) // 4
    assert [*spread_outputs(4, 1, lambda place: {"y": np.empty(half, np.float32)})] == [0, 2], "256 MiB at most"


SHARED = {
    "resnet20_cifar10jpg": ("cifar10_train10k", 96),
    "efficientnet-lite0": ("imagenet_calibration500", 40),
    "squeezenet1.1": ("imagenet_calibration500", 40),
    "mobilenet_v1_0.25_224_float": ("imagenet_calibration500", 40),
}


@pytest.mark.parametrize("name", [*SHARED])
def test_trained_classifiers(name: str, shared: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    ort = pytest.importorskip("onnxruntime")
    data, count = SHARED[name]
    words = ["--calibration", name, "--set", data, "--count", str(count), str(tmp_path / "data.npz"), "--labels"]
    subprocess.run([sys.executable, shared / "harness" / "score.py", *words], check=True, capture_output=True)
    session = ort.InferenceSession(str(shared / "models" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    with np.load(tmp_path / "data.npz") as arrays:
        (logits,) = session.run(None, {"input": arrays["input"]})
        assert kind(logits) == kind(logits, arrays["labels"]) == "scores"


def test_magika(shared: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(shared / "models" / "magika_standard_v3_3.onnx"))
    with np.load(shared / "data" / "magika_local.npz") as arrays:
        (found,) = session.run(None, {"bytes": arrays["x"][::20].astype(np.int32)})
    assert kind(found) == "probabilities"


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_samples(name: str, samples: Path, features: Callable[[Path, Array], Array]) -> None:
    with np.load(samples / "digits_calibration.npz") as arrays:
        images = arrays["image"][:96]
    logits, pooled = features(samples / f"{name}.onnx", images)
    assert kind(logits) == "scores"
    assert kind(pooled) == "values", "the features in front of the classifier"
    assert not have_winners(pooled.astype(np.float64))


@pytest.fixture
def features() -> Callable[[Path, Array], Array]:
    """The model's output, and the input of the last Gemm."""
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")

    def run(path: Path, images: Array) -> Array:
        model = onnx.load(path)
        last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
        session = ort.InferenceSession(model.SerializeToString())
        return session.run(None, {session.get_inputs()[0].name: images})  # type: ignore[no-any-return]

    return run

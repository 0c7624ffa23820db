"""What outputs are taken for: classifiers, regression heads, embeddings and probabilities, drawn and trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import OutputMeaning, Survey, class_output
from domino_onnx.outputs.evidence import evidence_of_winners

Array = np.ndarray[Any, np.dtype[Any]]
SEEDS = range(5)


def surveyed(parts: list[dict[str, Array]], labels: Array | None = None, **given: Any) -> dict[str, OutputMeaning]:
    """What outputs mean that come in these batches."""
    survey, done = Survey(len(parts), given), 0
    for part in parts:
        samples = len(next(iter(part.values())))
        survey.add(part, samples, None if labels is None else labels[done : done + samples])
        done += samples
    return survey.meanings()


def meaning(output: Array, labels: Array | None = None, batches: int = 3, **given: Any) -> OutputMeaning:
    """Of one output that comes in several batches."""
    return surveyed([{"y": part} for part in np.array_split(output, batches)], labels, **given)["y"]


def kind(output: Array, labels: Array | None = None, batches: int = 3) -> str:
    return meaning(output, labels, batches).kind


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
    channels = np.moveaxis(softmax(logits), -1, 1)
    assert (kind(channels), meaning(channels).axis) == ("probabilities", 1)


def test_what_one_batch_looks_like_does_not_count() -> None:
    """Four rows of a regression head may well look decided, and one row of any output adds up to something."""
    rows = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert surveyed([{"y": rows}])["y"].kind == "probabilities"
    assert surveyed([{"y": rows}, {"y": rows + 1}])["y"].kind == "values"


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


def test_what_is_no_float_is_compared_exactly() -> None:
    outputs = {"n": np.arange(6).reshape(2, 3), "b": np.ones((2,), bool), "s": np.array(["a", "b"], object)}
    assert {name: found.kind for name, found in surveyed([outputs]).items()} == dict.fromkeys("nbs", "exact")
    assert surveyed([{"n": outputs["n"], "e": np.zeros((2, 0), np.float32)}]).keys() == {"n"}, "empty says nothing"


def test_users_know_better() -> None:
    values = head(0, 10)
    assert meaning(values, y="scores").kind == "scores"
    assert meaning(values, y="embedding").axis == 1
    assert meaning(np.arange(6).reshape(2, 3), batches=1, y="ignored").kind == "ignored"
    one = meaning(values[:, :1], y="scores")
    assert (one.kind, one.reason) == ("values", "no axis that scores could lie along")
    assert "as --output-kind says" in meaning(values, y="values").in_words()


def test_scores_with_masked_classes() -> None:
    logits, _ = scores(0, 10)
    logits[:, 3] = -np.inf
    assert kind(logits) == "scores"


def test_rows_of_different_widths_are_values() -> None:
    found = surveyed([{"y": scores(0, width)[0]} for width in (10, 12)])["y"]
    assert (found.kind, found.axis, found.scales.shape) == ("values", None, (1,))


def test_the_output_whose_answers_count() -> None:
    meanings = {
        "v": OutputMeaning(kind="values"),
        "p": OutputMeaning(kind="probabilities", axis=2, positions=True),
        "s": OutputMeaning(kind="scores", axis=1),
        "t": OutputMeaning(kind="scores", axis=1),
    }
    assert class_output(meanings) == "s"
    assert class_output({name: meanings[name] for name in "vp"}) == "p"
    assert class_output({"v": meanings["v"]}) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_of_positions(seed: int) -> None:
    """A segmentation: classes along the second axis. A tagger: along the last."""
    logits, _ = scores(seed, 12, samples=8 * 6 * 5)
    logits += np.linspace(0, 3, 12, dtype=np.float32)
    maps = logits.reshape(8, 6, 5, 12)
    assert (kind(maps), meaning(maps).axis) == ("scores", 3)
    channels = np.moveaxis(maps, -1, 1)
    assert (kind(channels), meaning(channels).axis, meaning(channels).positions) == ("scores", 1, True)
    assert meaning(logits.reshape(8, 30, 12)).axis == 2
    assert kind(np.moveaxis(head(seed, 12, samples=240).reshape(8, 6, 5, 12), -1, 1)) == "values"


def test_scores_with_axes_of_one() -> None:
    """(samples, classes, 1, 1), as SqueezeNet has them: labels name their rows."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    weak = rng.standard_normal((200, 10))
    weak[np.arange(200), labels] += 1
    found = meaning(weak[:, :, None, None], labels)
    assert (found.kind, found.axis, found.positions, found.width) == ("scores", 1, False, 10)


def boxes(seed: int, *, anchors: int = 300, classes: int = 11, samples: int = 12) -> Array:
    """What a detector gives: boxes in pixels above scores of classes, of which most are quiet at most anchors."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, 320, (samples, 4, anchors))
    shares = rng.random((samples, classes, anchors)) ** 40 * rng.random((1, classes, 1))
    return np.concatenate([pixels, shares], axis=1).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 11, 80, 365])
@pytest.mark.parametrize("seed", SEEDS)
def test_detectors_have_channels_of_different_units(seed: int, classes: int) -> None:
    output = boxes(seed, classes=classes)
    for given, axis in ((output, 1), (output.transpose(0, 2, 1), 2)):
        found = meaning(given)
        assert (found.kind, found.axis, found.positions) == ("values", axis, True)
        wanted = np.moveaxis(given, axis, 0).reshape(4 + classes, -1).astype(np.float64).var(axis=1)
        assert found.scales[:4] == pytest.approx(wanted[:4], rel=1e-6)
        assert np.all(found.scales[4:] <= np.maximum(2 * wanted[4:], 1e-4))


def test_one_unit_for_all_is_one_channel() -> None:
    found = meaning(np.random.default_rng(0).standard_normal((40, 7, 9)).astype(np.float32))
    assert (found.kind, found.axis) == ("values", None)


def lines(seed: int, blank: int, *, classes: int = 40, steps: int = 30, samples: int = 20) -> Array:
    """Probabilities of a text recogniser: characters that win one or two steps, with blanks between."""
    rng = np.random.default_rng(seed)
    winners = np.full((samples, steps), blank)
    characters = [each for each in range(classes) if each != blank]
    for row in winners:
        for at in range(0, steps - 2, 3):
            row[at : at + int(rng.integers(1, 3))] = rng.choice(characters)
    logits = rng.standard_normal((samples, steps, classes))
    np.put_along_axis(logits, winners[..., None], 9.0, axis=-1)
    return softmax(logits).astype(np.float32)


@pytest.mark.parametrize("blank", [0, 39])
def test_a_plain_blank_makes_a_sequence(blank: int) -> None:
    found = meaning(lines(0, blank))
    assert (found.kind, found.axis, found.blank) == ("probabilities", 2, blank)
    assert f"a sequence with the blank {blank}" in found.in_words()


def test_no_blank_no_sequence() -> None:
    assert meaning(lines(0, 7)).blank is None
    tagged = np.roll(np.eye(40, dtype=np.float32), 1)[np.repeat(np.arange(20) % 3, 30).reshape(20, 30)]
    assert meaning(tagged).blank is None, "one class all through is no sequence"
    assert meaning(lines(0, 0, classes=9)).blank is None
    assert meaning(lines(0, 0)[:, :6]).blank is None


def test_all_samples_decide() -> None:
    """One batch of a hundred says that the output is no distribution."""
    parts = [{"y": softmax(np.random.default_rng(place).standard_normal((8, 5)))} for place in range(100)]
    parts[57]["y"] = parts[57]["y"] + 1
    assert surveyed(parts)["y"].kind == "values"


def test_evidence_is_bounded_however_many_rows_there_are() -> None:
    survey = Survey(50)
    for place in range(50):
        survey.add({"y": np.random.default_rng(place).standard_normal((4096, 6)).astype(np.float32)}, 4096)
    (output,) = survey._outputs.values()
    assert len(output._sides[1].finite_rows) <= 4096
    assert survey.meanings()["y"].scales == pytest.approx(np.ones(6), abs=0.02)


def moved(output: Array, batch_axis: int, labels: Array | None = None, batches: int = 3) -> OutputMeaning:
    """Of an output with samples first, given with samples along another axis."""
    survey, done = Survey(batches, batch_axes={"y": batch_axis}), 0
    for part in np.array_split(output, batches):
        some = None if labels is None else labels[done : done + len(part)]
        survey.add({"y": np.moveaxis(part, 0, batch_axis)}, len(part), some)
        done += len(part)
    return survey.meanings()["y"]


def test_samples_may_lie_along_another_axis() -> None:
    logits, labels = scores(0, 10)
    found = moved(logits, 1, labels)
    assert (found.kind, found.axis, found.batch_axis, found.positions) == ("scores", 0, 1, False)
    assert class_output({"y": found}) == "y"
    states = np.random.default_rng(0).standard_normal((60, 2, 8)) * np.arange(1, 9)
    plain, found = meaning(states.astype(np.float32)), moved(states.astype(np.float32), 1)
    assert (plain.kind, plain.axis, found.kind, found.axis) == ("values", 2, "values", 2)
    np.testing.assert_allclose(found.scales, plain.scales)


def test_lines_of_text_with_time_first_are_sequences() -> None:
    rng = np.random.default_rng(0)
    winners = np.where(rng.random((40, 16)) < 0.6, 0, rng.integers(1, 20, (40, 16)))
    logits = (6 * np.eye(20)[winners] + rng.standard_normal((40, 16, 20))).astype(np.float32)
    plain, found = meaning(logits), moved(logits, 1)
    assert (plain.blank, found.blank) == (0, 0)
    assert (found.kind, found.axis, found.positions) == (plain.kind, plain.axis, plain.positions)


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
    assert not evidence_of_winners(pooled.astype(np.float64))


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

"""Sequences and images of many lengths through every stage, each at its own; plain runs one by one are the oracle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import domino_onnx
from domino_onnx.data import load_data
from domino_onnx.graph import read_model, take_inventory
from domino_onnx.reconstruction import Network, reconstruct
from domino_onnx.scheme import NMScheme, SchemePool

pytest.importorskip("torch")
Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[..., Any]
TAGGER = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, t, 16] x) => (float[n, t, 8] y) {
    a = MatMul (x, w0)
    b = Relu (a)
    c = MatMul (b, w1)
    d = Relu (c)
    y = MatMul (d, w2)
}"""
READER = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 8, w] x) => (float[n, t, 12] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, c0)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, c1)
    d = Relu (c)
    axes = Constant <value_ints = [2]> ()
    e = ReduceMean <axes = [2], keepdims = 0> (d)
    f = Transpose <perm = [0, 2, 1]> (e)
    y = MatMul (f, head)
}"""
LENGTHS = (5, 9, 6, 9, 5, 12)
WIDTH, HIDDEN, CLASSES = 16, 64, 8


CENTRES = np.random.default_rng(99).standard_normal((CLASSES, WIDTH))


def sequences(seed: int, count: int, length: int) -> Array:
    """(count, length, WIDTH) around the centres of eight classes."""
    rng = np.random.default_rng(seed)
    noise = 0.6 * rng.standard_normal((count, length, WIDTH))
    return (CENTRES[rng.integers(0, CLASSES, (count, length))] + noise).astype(np.float32)


def write(path: Path, text: str, arrays: dict[str, Array]) -> Path:
    model = onnx.parser.parse_model(text)
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, path)
    return path


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"w0": rng.standard_normal((WIDTH, HIDDEN)) / 4, "w1": rng.standard_normal((HIDDEN, HIDDEN)) / 6}
    x = sequences(7, 64, 8).reshape(-1, WIDTH)
    nearest = ((x[:, None] - CENTRES) ** 2).sum(axis=2).argmin(axis=1)
    hidden = np.maximum(np.maximum(x @ arrays["w0"], 0) @ arrays["w1"], 0)
    arrays["w2"] = np.linalg.lstsq(hidden, 6 * np.eye(CLASSES)[nearest] - 1, rcond=1e-3)[0]
    return write(tmp_path / "tagger.onnx", TAGGER, arrays)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"c0": rng.standard_normal((16, 3, 3, 3)) / 4, "c1": rng.standard_normal((32, 16, 3, 3)) / 8}
    return write(tmp_path / "reader.onnx", READER, {**arrays, "head": rng.standard_normal((32, 12))})


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int, int], Path]:
    """`folder(seed, count)`: a folder of .npz files, one for each of LENGTHS."""

    def make(seed: int, count: int) -> Path:
        path = tmp_path / f"lengths{seed}"
        path.mkdir()
        for number, length in enumerate(LENGTHS):
            np.savez(path / f"{number}.npz", x=sequences(seed + number, count, length))
        return path

    return make


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """40 images of lines, 10 to 50 pixels wide at a height of 8."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("yaml")
    path, rng = tmp_path / "lines", np.random.default_rng(0)
    path.mkdir()
    for number in range(40):
        pixels = rng.integers(0, 256, (8, int(rng.integers(10, 51)), 3), np.uint8)
        image.fromarray(pixels).save(path / f"{number:02}.png")
    (path / "preprocessing.yaml").write_text(
        "resize: {height: 8}\npad_width_divisor: 16\nscale: 255\nmean: 0.5\nstd: 0.5\naugment: {flip: true}\n"
    )
    return path


def one_by_one(data: Path, model: Path) -> Iterator[Array]:
    """Each sample as a run of its own."""
    samples = load_data(data, onnx.load(model))
    return (samples.take(np.array([place]))["x"] for place in range(samples.count))


def test_all_stages_and_plain_runs_agree(
    tagger: Path, folder: Callable[[int, int], Path], domino: Run, run_ort: Run, tmp_path: Path
) -> None:
    data, evaluation, out = folder(10, 8), folder(50, 4), tmp_path / "out.onnx"
    words = ["compress", tagger, "--sparsity", "0.5", "--data", data, "--eval-data", evaluation]
    ran = domino(*words, "--finetune-steps", "20", "--batch-size", "4", "-o", out, "--json")
    assert ran.code == 0, ran.err
    models = [onnx.load(path) for path in (tagger, out)]
    pairs = [
        [run_ort(model, {"x": x})[0].reshape(-1, CLASSES) for model in models] for x in one_by_one(evaluation, out)
    ]
    dense, pruned = (np.concatenate(side).argmax(1) for side in zip(*pairs, strict=True))
    assert len(dense) == 4 * sum(LENGTHS)
    document = json.loads(ran.out)
    wanted = float(np.mean(dense != pruned))
    assert (document["parity"]["metric"], 0 < wanted < 0.5) == ("agreement", True)
    assert document["parity"]["drop"] == pytest.approx(wanted, abs=1e-6)
    assert document["parity"]["samples"] == 4 * len(LENGTHS)
    told = json.loads(domino("evaluate", tagger, out, "--data", evaluation, "--json", "--batch-size", "3").out)
    assert told["drop"] == pytest.approx(wanted, abs=1e-6)


def test_a_refit_sees_the_positions_of_all_lengths(tagger: Path, tmp_path: Path) -> None:
    """The positions of two lengths, and the same ones cut to one length, give the same weights."""
    file = read_model(tagger)
    short, long = sequences(1, 12, 4), sequences(2, 12, 8)
    for name, arrays in (("two", [short, long]), ("one", [np.concatenate([short, long.reshape(24, 4, WIDTH)])])):
        (tmp_path / name).mkdir()
        for number, x in enumerate(arrays):
            np.savez(tmp_path / name / f"{number}.npz", x=x)
    inventory, scheme = take_inventory(file, SchemePool.fixed_m(4), {}), NMScheme(2, 4)
    found = [
        reconstruct(
            Network(file, inventory, load_data(tmp_path / name, file.proto), batch_size=64, threads=1),
            {site.key: scheme for site in inventory.sites},
        )
        for name in ("two", "one")
    ]
    assert len(found[0].values) == 3
    for key, value in found[0].values.items():
        np.testing.assert_allclose(value, found[1].values[key], rtol=1e-3, atol=1e-4)
    assert found[0].divergence == pytest.approx(found[1].divergence, rel=1e-3)


@pytest.mark.parametrize("scope", ["model", "blocks"])
def test_images_of_their_own_widths_finetune_to_the_same_bytes_again(
    scope: str, reader: Path, lines: Path, domino: Run, tmp_path: Path
) -> None:
    outputs = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for output, memory in zip(outputs, ("4GB", "100MB"), strict=True):
        words = ["compress", reader, "--scheme", "2:4", "--data", lines, "--finetune-steps", 20, "--threads", 1]
        ran = domino(
            *words, "--memory", memory, "-o", output, "--json", recipe={"data.drawn": 0, "finetune.scope": scope}
        )
        assert ran.code == 0, ran.err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert json.loads(ran.out)["finetuning"]["steps"] == 20


def test_a_metric_gets_one_array_a_sample_in_their_order(tagger: Path) -> None:
    """So that it can be held against what the caller knows of each sample."""
    given = [sequences(seed, 1, length) for seed, length in enumerate((6, 3, 3, 9, 6, 4, 3))]
    seen: list[tuple[int, ...]] = []

    def metric(reference: Any, candidate: Any, labels: Any) -> float:
        seen[:] = [answer.shape for answer in reference["y"]]
        assert labels.tolist() == list(range(7))
        return float(np.mean([np.array_equal(*pair) for pair in zip(reference["y"], candidate["y"], strict=True)]))

    feeds = ({"x": x, "labels": np.array([number])} for number, x in enumerate(given))
    found = domino_onnx.evaluate(tagger, tagger, feeds, metric=metric)
    assert seen == [(1, x.shape[1], CLASSES) for x in given]
    assert found.drop == 0


def test_what_takes_one_shape_takes_the_median(reader: Path, lines: Path, domino: Run) -> None:
    ran = domino("inspect", reader, "--data", lines, "--json", "--bridge")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    widths = sorted(x.shape[3] for x in one_by_one(lines, reader))
    assert document["sites"][0]["macs"] == 32 * 16 * 9 * 4 * widths[20] // 2
    assert document["bridge"]["parity_ok"]
    assert domino("benchmark", reader, "--data", lines, "--seconds", 0.1).code == 0

"""The networks that are measured: their files, what they are calibrated on, and how an answer is scored.

Everything prepared from the shared folder is kept in a cache folder, so that it is prepared once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import bert
import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = [
    "NETWORKS",
    "Network",
    "Scores",
    "as_dense",
    "calibration",
    "forward_seconds",
    "outputs_on",
    "prepare",
    "score",
]

Arrays = Mapping[str, NDArray[Any]]
Made = tuple[Arrays, dict[str, dict[str, NDArray[Any]]]]
Scores = dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a network's files come from and go to: the shared folder, and its own one in the cache."""

    name: str
    shared: Path
    folder: Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of the benchmark.

    Attributes
    ----------
    title
        What it is called in tables.
    metric
        What its score is, in words.
    calibration
        The set that search and refit see, without labels, and how many samples of it.
    build
        Where the model is, made if need be.
    prepare
        So many calibration inputs, and for each evaluation set inputs and what they are judged by.
    judge
        The score of one set, from the model's first output and what was prepared for the set.
    batch_size
        Samples a run, of the program as of ONNX Runtime.
    shorten
        What a batch loses before it is run for a score: padding.
    """

    title: str
    metric: str
    calibration: tuple[str, int]
    build: Callable[[Place], Path]
    prepare: Callable[[Place, int], Made]
    judge: Callable[[NDArray[Any], Arrays], float]
    batch_size: int = 32
    shorten: Callable[[Arrays], Arrays] = dict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A network's files, ready for runs."""

    network: Network
    model: Path
    data: Path
    evaluation: Mapping[str, Path]


def prepare(name: str, shared: Path, cache: Path) -> Prepared:
    """The network's files; made where the cache folder lacks them."""
    network = NETWORKS[name]
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(name=name, shared=shared, folder=folder)
    model = network.build(place)
    count = network.calibration[1]
    data, done = folder / f"calibration_{count}.npz", folder / "evaluation"
    if not data.exists() or not done.exists():
        calibration, evaluation = network.prepare(place, count)
        done.mkdir(exist_ok=True)
        for set_name, arrays in evaluation.items():
            np.savez(done / f"{set_name}.npz", **arrays)  # type: ignore[arg-type]
        np.savez(data, **calibration)  # type: ignore[arg-type]
    sets = {path.stem: path for path in sorted(done.glob("*.npz"))}
    return Prepared(network=network, model=model, data=data, evaluation=sets)


def calibration(name: str, shared: Path, cache: Path, count: int) -> Path:
    """So many calibration inputs of a network; made where the cache folder lacks them."""
    path = cache / name / f"calibration_{count}.npz"
    if not path.exists():
        arrays, _ = NETWORKS[name].prepare(Place(name=name, shared=shared, folder=path.parent), count)
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def score(prepared: Prepared, model: Path, threads: int = 1) -> Scores:
    """The score of `model` on every evaluation set of the network."""
    session = _session(model, threads)
    scores = {}
    for name, path in prepared.evaluation.items():
        with np.load(path) as archive:
            arrays = dict(archive)
        outputs = _forward(session, arrays, prepared.network.batch_size, prepared.network.shorten)
        scores[name] = round(prepared.network.judge(outputs, arrays), 4)
    return scores


def outputs_on(prepared: Prepared, set_name: str, model: Path, threads: int = 1) -> NDArray[Any]:
    """The model's first output on an evaluation set."""
    with np.load(prepared.evaluation[set_name]) as archive:
        arrays = dict(archive)
    return _forward(_session(model, threads), arrays, prepared.network.batch_size, prepared.network.shorten)


def as_dense(prepared: Prepared, model: Path, threads: int = 1) -> dict[str, Scores]:
    """How near a classifier's answers are to the dense network's on every evaluation set; nothing of other networks.

    Returns
    -------
    The share of equal top classes, and the mean Kullback-Leibler divergence in nats. They vary less with the set than
    the top-1 does, which also moves where a wrong answer becomes another wrong answer.
    """
    near = {}
    for name, path in prepared.evaluation.items():
        with np.load(path) as archive:
            if "labels" not in archive:
                continue
        dense, pruned = (
            _log_probabilities(outputs_on(prepared, name, each, threads)) for each in (prepared.model, model)
        )
        divergence = (np.exp(dense) * (dense - pruned)).sum(-1).mean()
        agreement = (dense.argmax(-1) == pruned.argmax(-1)).mean()
        near[name] = {"agreement": round(float(agreement), 4), "divergence": round(float(divergence), 4)}
    return near


def _log_probabilities(outputs: NDArray[Any]) -> NDArray[np.float64]:
    """(samples, classes), from scores, or from probabilities as some networks give them."""
    values = outputs.reshape(len(outputs), -1).astype(np.float64)
    if (values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-3):
        return np.log(np.maximum(values, 1e-12))
    values -= values.max(-1, keepdims=True)
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def forward_seconds(prepared: Prepared, threads: int = 1) -> float:
    """What ONNX Runtime takes to run the calibration data through the dense network once."""
    session = _session(prepared.model, threads)
    with np.load(prepared.data) as archive:
        arrays = dict(archive)
    _forward(session, {name: array[:1] for name, array in arrays.items()}, 1)
    start = time.perf_counter()
    _forward(session, arrays, prepared.network.batch_size)
    return time.perf_counter() - start


def _session(model: Path, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if importlib.util.find_spec("domino_onnx_kernels") is not None:  # deployed files need them
        import domino_onnx_kernels

        options.register_custom_ops_library(domino_onnx_kernels.library_path())
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _forward(session: Any, arrays: Arrays, batch: int, shorten: Callable[[Arrays], Arrays] = dict) -> NDArray[Any]:
    inputs = {value.name: arrays[value.name] for value in session.get_inputs()}
    count = len(next(iter(inputs.values())))
    batches = ({name: array[i : i + batch] for name, array in inputs.items()} for i in range(0, count, batch))
    return np.concatenate([session.run(None, shorten(each))[0] for each in batches])


def _shared_model(place: Place) -> Path:
    return place.shared / "models" / f"{place.name}.onnx"


# Images


def _harness(shared: Path) -> ModuleType:
    """The shared folder's own preprocessing."""
    spec = importlib.util.spec_from_file_location("shared_harness", shared / "harness" / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _images(place: Place, count: int) -> Made:
    harness = _harness(place.shared)
    set_name = NETWORKS[place.name].calibration[0]
    pack, ready = harness.Pack(place.shared / "data" / f"{set_name}.npz"), harness.preparer(place.name)
    chosen = np.random.default_rng(0).permutation(len(pack))[:count]
    calibration = {"input": np.stack([ready(pack.image(i)) for i in chosen]).astype(np.float32)}
    evaluation = {}
    for scored, whole in harness.sets_for(place.name):
        pack, ready = harness.Pack(place.shared / "data" / f"{scored}.npz"), harness.preparer(place.name, whole)
        images = np.stack([ready(pack.image(i)) for i in range(len(pack))]).astype(np.float32)
        evaluation[scored] = {"input": images, "labels": pack.y}
    return calibration, evaluation


def _top1(outputs: NDArray[Any], arrays: Arrays) -> float:
    return float((outputs.argmax(-1) == arrays["labels"]).mean())


def _image_network(title: str, calibration: tuple[str, int], batch_size: int = 32) -> Network:
    return Network(
        title=title,
        metric="top-1",
        calibration=calibration,
        build=_shared_model,
        prepare=_images,
        judge=_top1,
        batch_size=batch_size,
    )


# Text lines, file types, sentences: the set is halved, one half to calibrate on, one to score


def _halves(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def _lines(place: Place, count: int) -> Made:
    from PIL import Image

    with np.load(place.shared / "data" / "ocr_lines.npz") as archive:
        packed, offsets, names = archive["data"], archive["off"], archive["name"]
    lines = []
    for start, stop in itertools.pairwise(offsets):
        image = Image.open(io.BytesIO(packed[start:stop].tobytes())).convert("RGB")
        lines.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)
    images = np.stack(lines)  # all lines of the set are 48 x 640
    calibrate, evaluate = _halves(len(images))
    metadata = {entry.key: entry.value for entry in onnx.load(_shared_model(place)).metadata_props}
    characters = np.array(["", *metadata["character"].split("\n"), " "])
    scored = {"x": images[evaluate], "text": names[evaluate], "characters": characters}
    return {"x": images[calibrate[:count]]}, {"ocr_lines": scored}


def _exact_lines(outputs: NDArray[Any], arrays: Arrays) -> float:
    """Share of lines read exactly by greedy CTC decoding, spaces aside."""
    right = 0
    for best, text in zip(outputs.argmax(-1), arrays["text"], strict=True):
        kept = best[(best != 0) & np.append(True, best[1:] != best[:-1])]
        right += "".join(arrays["characters"][kept]).replace(" ", "") == str(text).replace(" ", "")
    return right / len(arrays["text"])


def _file_heads(place: Place, count: int) -> Made:
    with np.load(place.shared / "data" / "magika_local.npz") as archive:
        heads, labels = archive["x"].astype(np.int32), archive["y"]
    calibrate, evaluate = _halves(len(heads))
    scored = {"bytes": heads[evaluate], "labels": labels[evaluate]}
    return {"bytes": heads[calibrate[:count]]}, {"magika_local": scored}


def _sentences(place: Place, count: int) -> Made:
    pairs, similarities = bert.read_pairs(place.shared / "data" / "stsb-en-dev.csv")
    calibrate, evaluate = _halves(len(pairs))
    evaluate = evaluate[np.argsort([max(map(len, pairs[i])) for i in evaluate], kind="stable")]
    tokens = bert.Tokenizer(place.folder)
    seen = [sentence for i in calibrate for sentence in pairs[i]][:count]
    scored = tokens.encode([pairs[i][side] for side in (0, 1) for i in evaluate])
    return tokens.encode(seen, longest=32), {"stsb-en-dev": {**scored, "similarity": similarities[evaluate]}}


def _spearman(outputs: NDArray[Any], arrays: Arrays) -> float:
    first, second = np.split(outputs / np.linalg.norm(outputs, axis=1, keepdims=True), 2)
    return bert.spearman((first * second).sum(1), arrays["similarity"])


_CIFAR = ("cifar10_train10k", 1024)
_IMAGENET = ("imagenet_calibration500", 500)

NETWORKS = {
    "resnet20_cifar10jpg": _image_network("ResNet-20, CIFAR-10", _CIFAR),
    "pretrainedResnet": _image_network("ResNet-8, CIFAR-10", _CIFAR),
    "mobilenet_v1_0.25_224_float": _image_network("MobileNet v1 0.25, ImageNet", _IMAGENET),
    "squeezenet1.1": _image_network("SqueezeNet 1.1, ImageNet", _IMAGENET, batch_size=16),
    "efficientnet-lite0": _image_network("EfficientNet-Lite0, ImageNet", _IMAGENET, batch_size=16),
    "magika_standard_v3_3": Network(
        title="Magika, file types",
        metric="top-1",
        calibration=("one half of magika_local", 240),
        build=_shared_model,
        prepare=_file_heads,
        judge=_top1,
    ),
    "ch_PP-OCRv4_rec_infer": Network(
        title="PP-OCRv4 recognition, text lines",
        metric="lines read exactly, spaces aside",
        calibration=("one half of ocr_lines", 100),
        build=_shared_model,
        prepare=_lines,
        judge=_exact_lines,
        batch_size=4,
    ),
    "all-MiniLM-L6-v2": Network(
        title="MiniLM-L6 (BERT), sentences",
        metric="Spearman correlation on STS-B",
        calibration=("sentences of one half of stsb-en-dev, up to 32 tokens", 1024),
        build=lambda place: bert.build(place.folder / f"{place.name}.onnx"),
        prepare=_sentences,
        judge=_spearman,
        shorten=bert.without_padding,
    ),
}

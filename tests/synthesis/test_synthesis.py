"""What inputs are taken to be, and samples of whole models, which ONNX Runtime runs."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from domino_onnx.data import input_specs
from domino_onnx.errors import DataError, OptionError
from domino_onnx.graph import read_model
from domino_onnx.synthesis import Synthesis, open_synthesis
from domino_onnx.synthesis.photographs import has_photographs

ort = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Mapping[str, Array]
_NODE = helper.make_node


def _runner(path: Path) -> Callable[[Inputs], dict[str, Array]]:
    """ONNX Runtime, whose refusals are the program's own error."""
    from domino_onnx.runtime import Session

    return Session(path, threads=1).run


def _open(path: Path, *, run: bool = True, **options: Any) -> Synthesis:
    file = read_model(path)
    return open_synthesis(file, input_specs(file.proto), seed=3, run=_runner(path) if run else None, **options)


def _run_all(path: Path, synthesis: Synthesis, batches: int = 2) -> None:
    """Several batches in ONNX Runtime; it raises if an input doesn't fit."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    data = synthesis.dataset(batches * (synthesis.batching.size or 2))
    for batch in data.batches(2):
        session.run(None, batch)


@pytest.fixture
def vision(make_model: Callable[..., ModelProto], save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A convolution over images; how they are prepared is guessed from few."""
    from domino_onnx.synthesis import opening

    monkeypatch.setattr(opening, "_GUESSED_FROM", 32)
    weight = np.random.default_rng(0).standard_normal((12, 3, 3, 3)).astype(np.float32) / 5
    nodes = [_NODE("Conv", ["x", "w"], ["c"]), _NODE("GlobalAveragePool", ["c"], ["p"]), _NODE("Flatten", ["p"], ["y"])]
    return save(make_model(nodes, {"x": ["n", 3, 16, 16]}, {"y": ["n", 12]}, {"w": weight}))


@pytest.fixture
def text(save: Callable[..., Path]) -> Path:
    """Words, kinds of sentences and positions are looked up, and what the mask leaves out counts as 0."""
    rows = {"words": 300, "kinds": 2, "places": 64}
    names = {"input_ids": "words", "token_type_ids": "kinds", "position_ids": "places"}
    nodes = [_NODE("Gather", [table, name], [f"{name}_found"]) for name, table in names.items()]
    nodes += [
        _NODE("Sum", [f"{name}_found" for name in names], ["sum"]),
        _NODE("Cast", ["attention_mask"], ["used"], to=TensorProto.FLOAT),
        _NODE("Unsqueeze", ["used", "last"], ["column"]),
        _NODE("Mul", ["sum", "column"], ["y"]),
    ]
    stored = [onnx.numpy_helper.from_array(np.ones((size, 4), np.float32), name) for name, size in rows.items()]
    stored.append(onnx.numpy_helper.from_array(np.array([2]), "last"))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in (*names, "attention_mask")
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 4])
    graph = helper.make_graph(nodes, "g", inputs, [output], stored)
    return save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.fixture
def recurrent(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> Path:
    """Adds the mean of the input to its state."""
    nodes = [_NODE("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1), _NODE("Add", ["state", "m"], ["state_out"])]
    nodes.append(_NODE("Identity", ["state_out"], ["y"]))
    shapes = {"x": ["n", 4], "state": [2, "n", 1]}
    return save(make_model(nodes, shapes, {"y": [2, "n", 1], "state_out": [2, "n", 1]}, {}))


def test_images_are_found_prepared_and_drawn(vision: Path) -> None:
    synthesis = _open(vision)
    (drawn,) = synthesis.inputs
    assert (drawn.description.kind, drawn.description.layout, drawn.shape) == ("image", "NCHW", (3, 16, 16))
    made = "crops of photographs" if has_photographs() else "images"
    assert synthesis.lines[0].startswith(f"x: colour {made} of 16 x 16 (NCHW); inputs look like ")
    _run_all(vision, synthesis)


def test_without_running_the_most_usual_preparation_is_taken(vision: Path) -> None:
    pixels = _open(vision, run=False).take(np.arange(40))["x"]
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        assert pixels[:, channel].min() >= (0 - mean) / std - 1e-5
        assert pixels[:, channel].max() <= (1 - mean) / std + 1e-5


def test_a_sample_is_the_same_in_any_batch(vision: Path) -> None:
    synthesis = _open(vision)
    whole = synthesis.take(np.arange(6))["x"]
    np.testing.assert_array_equal(synthesis.take(np.array([5, 2]))["x"], whole[[5, 2]])
    np.testing.assert_array_equal(synthesis.sample(3)["x"], whole[3])
    data = synthesis.dataset(6)
    np.testing.assert_array_equal(data.take(np.array([1, 4]))["x"], whole[[1, 4]])
    assert len({sample.tobytes() for sample in whole}) == 6


def test_another_seed_gives_other_samples(vision: Path) -> None:
    file = read_model(vision)
    specs = input_specs(file.proto)
    first, second = (open_synthesis(file, specs, seed=seed).sample(0)["x"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_memory_stays_flat_over_many_samples(vision: Path) -> None:
    synthesis = _open(vision)
    synthesis.take(np.arange(4))
    tracemalloc.start()
    for place in range(30):
        synthesis.sample(place)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 30 * 3 * 16 * 16 * 4 / 3  # bytes, a third of what 30 samples take


def test_text_inputs_fit_their_tables_and_each_other(text: Path) -> None:
    synthesis = _open(text)
    assert [drawn.description.kind for drawn in synthesis.inputs] == ["tokens", "segments", "positions", "mask"]
    assert synthesis.inputs[0].description.rows == 300
    taken = synthesis.take(np.arange(30))
    mask = taken["attention_mask"]
    assert set(np.unique(mask)) == {0, 1}
    assert (np.diff(mask, axis=1) <= 0).all()
    assert (taken["input_ids"][mask == 0] == 0).all()
    assert 0 < taken["input_ids"].max() < 300
    assert (taken["token_type_ids"][mask == 0] == 0).all()
    np.testing.assert_array_equal(taken["position_ids"], np.tile(np.arange(mask.shape[1]), (30, 1)))
    _run_all(text, synthesis)


def test_states_are_what_the_model_makes_of_them(recurrent: Path) -> None:
    synthesis = _open(recurrent)
    assert synthesis.batching.axes == {"x": 0, "state": 1}
    assert synthesis.states == {"state": "state_out"}
    states = [synthesis.sample(place)["state"] for place in range(8)]
    assert [bool(np.any(state)) for state in states] == [False, True, True, True, False, True, True, True]
    together = synthesis.take(np.arange(8))["state"]
    assert together.shape == (2, 8, 1)
    np.testing.assert_array_equal(together, np.stack(states, 1))
    _run_all(recurrent, synthesis)


def test_a_fixed_batch_is_kept(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> None:
    path = save(make_model([_NODE("Relu", ["x"], ["y"])], {"x": [4, 7]}, {"y": [4, 7]}, {}))
    synthesis = _open(path)
    assert synthesis.batching.size == 4
    assert synthesis.take(np.arange(4))["x"].shape == (4, 7)
    _run_all(path, synthesis)


def test_what_the_user_says_comes_first(vision: Path) -> None:
    assert _open(vision, kinds={"x": "features"}).inputs[0].preparation is None
    with pytest.raises(OptionError, match="no input of the model; inputs: x"):
        _open(vision, kinds={"z": "image"})
    with pytest.raises(OptionError, match="can't be drawn as 'smell'"):
        _open(vision, kinds={"x": "smell"})


def test_given_shapes_are_kept(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> None:
    weight = np.ones((2, 3, 3, 3), np.float32)
    path = save(make_model([_NODE("Conv", ["x", "w"], ["y"])], {"x": ["n", 3, "h", "w"]}, {"y": None}, {"w": weight}))
    assert _open(path, shapes={"x": (1, 3, 20, 30)}).sample(0)["x"].shape == (3, 20, 30)


def test_a_model_that_runs_on_nothing_is_an_error(
    make_model: Callable[..., ModelProto], save: Callable[..., Path]
) -> None:
    nodes = [_NODE("MatMul", ["x", "w"], ["y"])]
    path = save(make_model(nodes, {"x": ["n", "k"]}, {"y": None}, {"w": np.ones((977, 2), np.float32)}))
    with pytest.raises(DataError, match="runs on no drawn inputs"):
        _open(path)


_FOREIGN = ("crepe-tiny", "magika_standard_v3_3", "silero_vad_op18_ifless")


@pytest.mark.shared
@pytest.mark.parametrize("name", _FOREIGN)
def test_trained_models_run_on_drawn_inputs(shared: Path, name: str) -> None:
    path = shared / "models" / f"{name}.onnx"
    _run_all(path, _open(path))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pretrainedResnet", "0..255"),
        ("resnet20_cifar10jpg", "ImageNet-normalised RGB"),
        ("ch_PP-OCRv4_rec_infer", "-1..1"),
        ("ch_ppocr_mobile_v2.0_cls_infer", "-1..1"),
    ],
)
def test_preparations_of_trained_networks_are_guessed(shared: Path, name: str, words: str) -> None:
    path = shared / "models" / f"{name}.onnx"
    synthesis = _open(path)
    (drawn,) = synthesis.inputs
    assert drawn.preparation is not None
    assert drawn.preparation.words == words
    _run_all(path, synthesis)


@pytest.mark.shared
def test_foreign_models_run_on_drawn_inputs(shared: Path) -> None:
    """100 small models of all kinds, the same ones each time."""
    index = json.loads((shared / "corpus" / "INDEX.json").read_text(encoding="utf-8"))
    small = [each["file"] for each in index if (shared / "corpus" / each["file"]).stat().st_size < 200_000]
    for name in sorted(small)[:: max(len(small) // 100, 1)][:100]:
        path = shared / "corpus" / name
        _run_all(path, _open(path, run=False), batches=1)

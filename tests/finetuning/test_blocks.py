"""Training part by part: around an operator that torch has no counterpart for, and where a model shall be cut up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

torch = pytest.importorskip("torch")

from domino_onnx import verify  # noqa: E402
from domino_onnx.bridge import missing_operators  # noqa: E402
from domino_onnx.data import load_data  # noqa: E402
from domino_onnx.errors import FinetuneError  # noqa: E402
from domino_onnx.finetuning import BlockOptions, FinetuneOptions, finetune_blocks  # noqa: E402
from domino_onnx.graph import read_model, stored_tensors, take_inventory  # noqa: E402
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey  # noqa: E402
from domino_onnx.solve import PrunedWeights  # noqa: E402

OPTIONS = FinetuneOptions(steps=60, batch_size=32, lr=1e-2)


@pytest.fixture
def obstructed(make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> Path:
    """Two layers, an operator without a torch counterpart, and two more; one weight stands on both sides."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((16, 16)).astype(np.float32) / 4 for name in ("a", "b", "both", "c")}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "b"], ["h2"]),
        helper.make_node("MatMul", ["h2", "both"], ["h3"]),
        helper.make_node("CenterCropPad", ["h3", "size"], ["h4"], axes=[1]),
        helper.make_node("MatMul", ["h4", "both"], ["h5"]),
        helper.make_node("Relu", ["h5"], ["r5"]),
        helper.make_node("MatMul", ["r5", "c"], ["y"]),
    ]
    arrays = {**weights, "size": np.int64([16])}
    model = make_model(nodes, {"x": ["n", 16]}, {"y": ["n", 16]}, arrays, opset=18)
    assert missing_operators(model) == ("CenterCropPad-18",)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((512, 16)).astype(np.float32))
    return save(model)


def pruned(path: Path, scheme: NMScheme) -> dict[WeightKey, Any]:
    file = read_model(path)
    tensors, sites = stored_tensors(file.proto), take_inventory(file, SchemePool.fixed_m(), {}).sites
    return dict(PrunedWeights({site.key: scheme for site in sites}, sites, lambda key: file.array(tensors[key])))


def error(path: Path, values: dict[WeightKey, Any], data: Path) -> float:
    """Mean square error of the outputs with these weights, by ONNX Runtime."""
    file = read_model(path)
    with np.load(data) as archive:
        x = archive["x"]
    (dense,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    for key, tensor in stored_tensors(file.proto).items():
        if key in values:
            tensor.raw_data = values[key].tobytes()
    session = ort.InferenceSession(file.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(np.mean((session.run(None, {"x": x})[0] - dense) ** 2))


def test_what_stands_around_an_unknown_operator_is_trained(obstructed: Path, tmp_path: Path) -> None:
    file, data = read_model(obstructed), tmp_path / "data.npz"
    weights = pruned(obstructed, NMScheme(2, 4))
    finetuned = finetune_blocks(file, load_data(data, file.proto), weights, OPTIONS)
    assert (finetuned.blocks, finetuned.frozen) == (2, (WeightKey("both"),))
    assert finetuned.after < finetuned.before
    assert finetuned.steps == len(finetuned.history) == 2 * OPTIONS.steps
    for key, weight in weights.items():
        assert not finetuned.values[key][weight == 0].any()
        assert np.array_equal(finetuned.values[key], weight) == (key == WeightKey("both"))
    assert error(obstructed, dict(finetuned.values), data) < 0.9 * error(obstructed, weights, data)


def test_the_same_from_the_command_line_says_what_was_left(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--solver", "magnitude", "--data", tmp_path / "data.npz", "-o", output, "--json"]
    ran = domino("compress", obstructed, *words, "--finetune-steps", "40", "--finetune-lr", "0.01")
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert (finetuned["blocks"], finetuned["frozen"]) == (2, ["both"])
    (warning,) = [line for line in json.loads(ran.out)["warnings"] if "part by part" in line]
    assert "CenterCropPad-18" in warning
    assert "3 of 4 weights" in warning
    assert verify(output).holds


def test_a_file_that_was_pruned_before_is_finetuned_alike(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    sparse, output, data = tmp_path / "sparse.onnx", tmp_path / "out.onnx", tmp_path / "data.npz"
    assert domino("compress", obstructed, "--scheme", "2:4", "-o", sparse).code == 0
    words = ["--teacher", obstructed, "--data", data, "-o", output, "--finetune-steps", "40", "--finetune-lr", "0.01"]
    ran = domino("finetune", sparse, *words, "--json")
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert finetuned["frozen"] == ["both"]
    assert finetuned["after"] < finetuned["before"]
    assert verify(output).holds


@pytest.mark.parametrize("scope", ["blocks", "both"])
def test_a_model_may_be_cut_up_though_it_needs_not(scope: str, domino: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--solver", "magnitude", "--data", samples / "digits_calibration.npz", "-o", output]
    more = ["--finetune-steps", "20", "--finetune-lr", "0.001", "--finetune-scope", scope, "--json"]
    ran = domino("compress", samples / "digits_transformer.onnx", *words, *more)
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert finetuned["after"] < finetuned["before"]
    assert bool(finetuned["blocks"]) == (scope == "blocks")
    assert verify(output).holds


def test_small_blocks_cut_the_model_finer(samples: Path) -> None:
    file = read_model(samples / "digits_transformer.onnx")
    data = load_data(samples / "digits_calibration.npz", file.proto)
    weights = pruned(samples / "digits_transformer.onnx", NMScheme(1, 4))
    settings = FinetuneOptions(steps=2, batch_size=32, lr=1e-3)
    numbers = [
        finetune_blocks(file, data, weights, settings, blocks=BlockOptions(weights=most)).blocks for most in (1, 4, 100)
    ]
    assert numbers[0] > numbers[1] > numbers[2] == 1


def test_stopped_and_resumed_gives_the_same_bits(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    output, folder = tmp_path / "out.onnx", tmp_path / "kept"
    words = ["--scheme", "2:4", "--data", tmp_path / "data.npz", "--finetune-steps", "20", "--finetune-lr", "0.01"]
    assert domino("compress", obstructed, *words, "-o", output).code == 0
    undisturbed = output.read_bytes()
    words += ["-o", output, "--force", "--checkpoint", folder, "--checkpoint-every", "5"]
    assert domino("compress", obstructed, *words).code == 0
    assert len(list(folder.glob("block-*.npz"))) == 2
    max(folder.glob("block-*.npz")).unlink()  # as if it had been stopped before the second block
    again = domino("compress", obstructed, *words, "--resume", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["finetuning"]["frozen"] == ["both"]
    assert output.read_bytes() == undisturbed


def test_what_torch_gets_wrong_as_a_whole_is_trained_around(
    domino: Any, samples: Path, tmp_path: Path, wrong_operator: Callable[..., None]
) -> None:
    wrong_operator("Softmax")
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--solver", "magnitude", "--data", samples / "digits_calibration.npz", "-o", output]
    more = ["--finetune-steps", "20", "--finetune-lr", "0.001", "--json"]
    ran = domino("compress", samples / "digits_transformer.onnx", *words, *more)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["finetuning"]["blocks"] >= 1
    assert document["finetuning"]["after"] < document["finetuning"]["before"]
    assert any("doesn't reproduce ONNX Runtime" in warning for warning in document["warnings"])
    assert verify(output).holds


def test_nothing_to_train_is_said(obstructed: Path, tmp_path: Path) -> None:
    file = read_model(obstructed)
    both = {key: weight for key, weight in pruned(obstructed, NMScheme(2, 4)).items() if key.name == "both"}
    with pytest.raises(FinetuneError, match="no part of the model"):
        finetune_blocks(file, load_data(tmp_path / "data.npz", file.proto), both, OPTIONS)

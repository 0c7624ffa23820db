"""Training block by block: around an operator that torch has no counterpart for, and where a model shall be cut up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

torch = pytest.importorskip("torch")

from domino_onnx.bridge import missing_operators  # noqa: E402
from domino_onnx.data import Dataset, Split, load_data  # noqa: E402
from domino_onnx.errors import FinetuneError  # noqa: E402
from domino_onnx.finetuning import finetune_blocks  # noqa: E402
from domino_onnx.graph import OnnxFile, read_model, stored_tensors, take_inventory  # noqa: E402
from domino_onnx.options import Duration, FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.pipeline import verify  # noqa: E402
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey  # noqa: E402
from domino_onnx.solve import PrunedWeights  # noqa: E402

OPTIONS = FinetuneOptions(steps=60, lr=1e-2)
MAGNITUDE = {"solver.method": "magnitude"}


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


def split(file: OnnxFile, data: Path) -> Split:
    return Split.of(load_data(data, file.proto), evaluation=None, judged=False, seed=0)


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
    finetuned = finetune_blocks(file, split(file, data), weights, OPTIONS)
    assert (finetuned.blocks, finetuned.frozen) == (2, (WeightKey("both"),))
    assert finetuned.after < finetuned.before
    assert finetuned.steps == len(finetuned.history) == 2 * OPTIONS.steps
    for key, weight in weights.items():
        assert not finetuned.values[key][weight == 0].any()
        assert np.array_equal(finetuned.values[key], weight) == (key == WeightKey("both"))
    assert error(obstructed, dict(finetuned.values), data) < 0.9 * error(obstructed, weights, data)


@pytest.mark.parametrize("moved", [{"b"}, {"a", "b", "both", "c", "size"}])
def test_weights_in_constant_nodes_are_trained_like_initializers(
    moved: set[str], obstructed: Path, save: Callable[..., Path], tmp_path: Path
) -> None:
    model, data = onnx.load(obstructed), tmp_path / "data.npz"
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [helper.make_node("Constant", [], [name], value=tensors[name]) for name in sorted(moved)]
    nodes += list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensor for name, tensor in tensors.items() if name not in moved)
    path = save(model, "constants.onnx")
    weights = pruned(path, NMScheme(2, 4))
    expected = finetune_blocks(read_model(obstructed), split(read_model(obstructed), data), weights, OPTIONS)
    finetuned = finetune_blocks(read_model(path), split(read_model(path), data), weights, OPTIONS)
    assert finetuned.history == expected.history
    for key, value in expected.values.items():
        np.testing.assert_array_equal(finetuned.values[key], value)


def test_the_same_from_the_command_line_says_what_was_left(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--data", tmp_path / "data.npz", "-o", output, "--json"]
    ran = domino("compress", obstructed, *words, "--finetune-steps", "40", recipe=MAGNITUDE | {"finetune.lr": 0.01})
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert (finetuned["blocks"], finetuned["frozen"]) == (2, ["both"])
    (warning,) = [line for line in json.loads(ran.out)["warnings"] if "block by block" in line]
    assert "CenterCropPad-18" in warning
    assert "3 of 4 weights" in warning
    parity = json.loads(ran.out)["parity"]
    assert (parity["samples"], parity["fitted"]) == (64, False)  # the eighth that nothing learned from
    assert verify(output).holds


def test_where_nothing_can_be_held_out_the_comparison_says_so(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32))
    words = ["--scheme", "2:4", "--data", tmp_path / "few.npz", "--json"]
    ran = domino("compress", obstructed, *words, "--finetune-steps", "4", recipe=MAGNITUDE | {"finetune.lr": 0.01})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["parity"]["samples"], document["parity"]["fitted"]) == (3, True)
    assert any("too few samples to hold any out" in warning for warning in document["warnings"])


def test_a_file_that_was_pruned_before_is_finetuned_alike(domino: Any, obstructed: Path, tmp_path: Path) -> None:
    sparse, output, data = tmp_path / "sparse.onnx", tmp_path / "out.onnx", tmp_path / "data.npz"
    assert domino("compress", obstructed, "--scheme", "2:4", "-o", sparse).code == 0
    words = ["--teacher", obstructed, "--data", data, "-o", output, "--finetune-steps", "40", "--json"]
    ran = domino("finetune", sparse, *words, recipe={"finetune.lr": 0.01})
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert finetuned["frozen"] == ["both"]
    assert finetuned["after"] < finetuned["before"]
    assert verify(output).holds


@pytest.mark.parametrize("scope", ["blocks", "both"])
def test_a_model_may_be_cut_up_though_it_needs_not(scope: str, domino: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--data", samples / "digits_calibration.npz", "-o", output]
    recipe = MAGNITUDE | {"finetune.lr": 0.001, "finetune.scope": scope}
    model = samples / "digits_transformer.onnx"
    ran = domino("compress", model, *words, "--finetune-steps", "20", "--json", recipe=recipe)
    assert ran.code == 0, ran.err
    finetuned = json.loads(ran.out)["finetuning"]
    assert finetuned["after"] < finetuned["before"]
    assert bool(finetuned["blocks"]) == (scope == "blocks")
    assert verify(output).holds


def test_small_blocks_cut_the_model_finer(samples: Path) -> None:
    file = read_model(samples / "digits_transformer.onnx")
    samples_of = split(file, samples / "digits_calibration.npz")
    weights = pruned(samples / "digits_transformer.onnx", NMScheme(1, 4))
    settings = FinetuneOptions(steps=2, lr=1e-3)
    numbers = [finetune_blocks(file, samples_of, weights, settings, most_weights=most).blocks for most in (1, 4, 100)]
    assert numbers[0] > numbers[1] > numbers[2] == 1


def test_stopped_and_resumed_gives_the_same_bits(
    domino: Any, obstructed: Path, tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    output, folder = tmp_path / "out.onnx", tmp_path / "kept"
    words = ["--scheme", "2:4", "--data", tmp_path / "data.npz", "--finetune-steps", "20"]
    recipe = {"finetune.lr": 0.01, "run.checkpoint_every": 0}
    assert domino("compress", obstructed, *words, "-o", output, recipe=recipe).code == 0
    undisturbed = output.read_bytes()
    words += ["-o", output, "--force", "--checkpoint", folder]
    with interrupt("pipeline.pruning.write"):
        assert domino("compress", obstructed, *words, recipe=recipe).code == 130
    assert len(list(folder.glob("block-*.npz"))) == 2
    max(folder.glob("block-*.npz")).unlink()  # as if it had been stopped before the second block
    again = domino("compress", obstructed, *words, "--resume", "--json", recipe=recipe)
    assert again.code == 0, again.err
    assert json.loads(again.out)["finetuning"]["frozen"] == ["both"]
    assert output.read_bytes() == undisturbed


def test_what_torch_gets_wrong_as_a_whole_is_trained_around(
    domino: Any, samples: Path, tmp_path: Path, wrong_operator: Callable[..., None]
) -> None:
    wrong_operator("Softmax")
    output = tmp_path / "out.onnx"
    words = ["--scheme", "2:4", "--data", samples / "digits_calibration.npz", "-o", output]
    recipe = MAGNITUDE | {"finetune.lr": 0.001}
    model = samples / "digits_transformer.onnx"
    ran = domino("compress", model, *words, "--finetune-steps", "20", "--json", recipe=recipe)
    assert_trained_around(ran, output)


def assert_trained_around(ran: Any, output: Path) -> None:
    """Blocks were trained, to some gain, and the warning says why."""
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["finetuning"]["blocks"] >= 1
    assert document["finetuning"]["after"] < document["finetuning"]["before"]
    assert any("doesn't reproduce ONNX Runtime" in warning for warning in document["warnings"])
    assert verify(output).holds


def test_a_pruned_file_that_torch_gets_wrong_is_trained_around_too(
    domino: Any, samples: Path, tmp_path: Path, wrong_operator: Callable[..., None]
) -> None:
    model, sparse, output = samples / "digits_transformer.onnx", tmp_path / "sparse.onnx", tmp_path / "out.onnx"
    data = ["--data", samples / "digits_calibration.npz"]
    assert (
        domino("compress", model, "--scheme", "2:4", "--no-finetune", *data, "-o", sparse, recipe=MAGNITUDE).code == 0
    )
    wrong_operator("Softmax")
    words = ["--teacher", model, *data, "-o", output, "--finetune-steps", "20", "--json"]
    ran = domino("finetune", sparse, *words, recipe={"finetune.lr": 0.001})
    assert_trained_around(ran, output)


def test_a_block_learns_from_training_samples_and_is_judged_by_held_out_ones(
    obstructed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other held-out samples the first block takes the same steps, and only the judge differs."""
    file = read_model(obstructed)
    weights = pruned(obstructed, NMScheme(2, 4))
    samples = split(file, tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as archive:
        changed = archive["x"]
    learned = np.sort(np.random.default_rng(0).permutation(512)[64:])  # an eighth is set apart
    changed[learned[samples.held_out]] = np.random.default_rng(7).standard_normal((len(samples.held_out), 16))
    np.savez(tmp_path / "changed.npz", x=changed)
    run = RunOptions(batch_size=16)
    options = FinetuneOptions(steps=20, lr=1e-3)
    one = finetune_blocks(file, samples, weights, options, run)
    other = finetune_blocks(file, split(file, tmp_path / "changed.npz"), weights, options, run)
    first, second = (result.history[: options.steps] for result in (one, other))
    assert [step.loss for step in first] == [step.loss for step in second]
    assert [step.held_out for step in first] != [step.held_out for step in second]
    inputs: list[np.ndarray[Any, Any]] = []
    taken = Dataset.take

    def recorded(self: Dataset, indices: Any, *, draw: int | None = None) -> dict[str, Any]:
        inputs.append(indices)
        return taken(self, indices, draw=draw)

    monkeypatch.setattr(Dataset, "take", recorded)
    finetune_blocks(file, samples, weights, options, run)
    held_out = set(samples.held_out.tolist())
    for indices in inputs:
        assert set(indices.tolist()) <= held_out or held_out.isdisjoint(indices.tolist())
    assert set(np.concatenate(inputs).tolist()) == set(range(448))


def test_all_blocks_take_as_many_steps_as_time_allows_the_first(obstructed: Path, tmp_path: Path) -> None:
    file, data = read_model(obstructed), tmp_path / "data.npz"
    weights, options = pruned(obstructed, NMScheme(2, 4)), FinetuneOptions(time=Duration(1), lr=1e-2, early_stop=False)
    timed = finetune_blocks(file, split(file, data), weights, options)
    assert (timed.blocks, timed.steps) == (2, 2 * timed.planned)
    exact = finetune_blocks(file, split(file, data), weights, timed.repeated(options))
    assert exact.history == timed.history
    for key, value in timed.values.items():
        np.testing.assert_array_equal(exact.values[key], value)


def test_nothing_to_train_is_said(obstructed: Path, tmp_path: Path) -> None:
    file = read_model(obstructed)
    both = {key: weight for key, weight in pruned(obstructed, NMScheme(2, 4)).items() if key.name == "both"}
    with pytest.raises(FinetuneError, match="no block of the model"):
        finetune_blocks(file, split(file, tmp_path / "data.npz"), both, OPTIONS)


def test_a_mask_of_infinities_between_blocks_is_no_obstacle(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """An operator without a torch counterpart, and a mask that the block before it makes."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((16, 16)).astype(np.float32) / 4 for name in ("a", "b")}
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["hidden"]),
        helper.make_node("Where", ["hidden", "never", "zero"], ["mask"]),
        helper.make_node("MatMul", ["x", "a"], ["h1"]),
        helper.make_node("Add", ["h1", "mask"], ["h2"]),
        helper.make_node("CenterCropPad", ["h2", "size"], ["h3"], axes=[1]),
        helper.make_node("Softmax", ["h3"], ["h4"]),
        helper.make_node("MatMul", ["h4", "b"], ["y"]),
    ]
    arrays = {**weights, "size": np.int64([16]), "zero": np.float32(0), "never": np.float32(-np.inf)}
    x = rng.standard_normal((512, 16)).astype(np.float32)
    x[:, 0] = 1  # so that each row has something to see
    np.savez(tmp_path / "data.npz", x=x)
    path = save(make_model(nodes, {"x": ["n", 16]}, {"y": ["n", 16]}, arrays, opset=18))
    file, before = read_model(path), pruned(path, NMScheme(2, 4))
    finetuned = finetune_blocks(file, split(file, tmp_path / "data.npz"), before, OPTIONS)
    assert finetuned.frozen == ()
    assert error(path, dict(finetuned.values), tmp_path / "data.npz") < error(path, before, tmp_path / "data.npz")

"""With data: losses measured and weights refitted; each seen from outside, through ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from domino_onnx.errors import DataError
from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import apply, compress, search, verify
from domino_onnx.scheme import Budget, NMScheme

BUDGET = Budget(measure="params", reduction=0.875)


def options(samples: Path, given: Mapping[str, Any] | None = None) -> CompressOptions:
    """The budget, data and no finetuning; `given` by ``group.field``."""
    goal = {} if given and "goal.scheme" in given else {"goal.sparsity": BUDGET.reduction}
    rest = {"data.calibration": samples / "digits_calibration.npz", "finetune.enabled": False, "run.threads": 1}
    return overridden(CompressOptions(), {**goal, **rest, **(given or {})})


def stored(path: Path) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.fixture(scope="module")
def refitted(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("out") / "sparse.onnx"
    given = options(samples, {"data.evaluation": samples / "digits_evaluation.npz"})
    return compress(samples / "digits_transformer.onnx", output, given)


def test_a_refit_keeps_the_accuracy_without_any_training(refitted: Any) -> None:
    assert (refitted.plan.strategy, refitted.solver, refitted.finetuned) == ("sensitivity", "refit", None)
    comparison = refitted.parity.comparison
    assert comparison.top1_reference - comparison.top1_candidate < 0.02, "magnitude masks lose over 0.3 here"


def test_only_what_the_manifest_names_has_changed(refitted: Any, samples: Path) -> None:
    before, after = stored(samples / "digits_transformer.onnx"), stored(refitted.output)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    metadata = {entry.key: entry.value for entry in onnx.load(refitted.output).metadata_props}
    manifest = json.loads(metadata["domino_onnx.manifest"])
    biases = {entry["name"] for entry in manifest["also_changed"]}
    assert changed <= {entry["name"] for entry in manifest["weights"]} | biases
    assert biases
    assert all(before[name].ndim == 1 for name in biases)
    assert verify(refitted.output).holds


def test_the_prediction_is_what_was_measured_before_finetuning(refitted: Any) -> None:
    """Nothing is finetuned here, so that the written file shows the same on the same samples."""
    comparison = refitted.parity.comparison
    assert (refitted.prediction.metric, refitted.prediction.samples) == ("top-1", min(comparison.samples, 512))
    assert refitted.prediction.score == pytest.approx(comparison.top1_candidate, abs=0.02)
    assert 0 < refitted.divergence < 1
    errors = [record.error for record in refitted.weights if record.scheme.n < record.scheme.m]
    assert all(0 <= error < 1 for error in errors)


def test_a_prediction_is_made_on_samples_that_nothing_learned_from(samples: Path) -> None:
    found = search(
        samples / "digits_transformer.onnx",
        options(samples, {"goal.sparsity": 0.5, "search.strategy": "uniform"}),
    )
    with np.load(samples / "digits_calibration.npz") as data:
        apart = round(len(data["image"]) / 8)
    assert found.prediction is not None
    assert (found.prediction.metric, found.prediction.samples) == ("agreement", apart)
    assert f"on {apart} samples that nothing learned from" in found.prediction.in_words()


def test_few_samples_give_no_prediction(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    with np.load(samples / "digits_calibration.npz") as data:
        np.savez(tmp_path / "few.npz", image=data["image"][:64])
    given = options(samples, {"goal.sparsity": 0.25, "data.calibration": tmp_path / "few.npz"})
    assert search(small_digits, given).prediction is None


def test_apply_refits_a_plan_where_there_are_data(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    evaluation = {"data.evaluation": samples / "digits_evaluation.npz"}
    refitted = compress(small_digits, tmp_path / "refitted.onnx", options(samples, evaluation))
    for solver in ("magnitude", "sparsegpt", "refit"):
        output = tmp_path / f"{solver}.onnx"
        given = options(samples, {**evaluation, "solver.method": solver})
        result = apply(small_digits, refitted.plan, output, given)
        assert result.solver == solver
        assert result.plan.schemes == refitted.plan.schemes
        kl = result.parity.comparison.kl
        if solver == "refit":
            assert kl == pytest.approx(refitted.parity.comparison.kl)
        else:
            assert kl > refitted.parity.comparison.kl
        assert verify(output).holds


def test_masks_may_go_by_another_rule(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    for rule in ("magnitude", "activation"):
        given = options(samples, {"solver.masks": rule, "goal.scheme": NMScheme(2, 4)})
        result = compress(small_digits, tmp_path / f"{rule}.onnx", given)
        assert verify(result.output).holds
        assert not result.warnings
    by_size, by_input = (stored(tmp_path / f"{rule}.onnx") for rule in ("magnitude", "activation"))
    assert any((by_size[name] != 0).tolist() != (by_input[name] != 0).tolist() for name in by_size)


def test_the_same_seed_gives_the_same_refit(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        compress(small_digits, tmp_path / name, options(samples, {"run.seed": 3}))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_budget_that_hurts_is_announced(
    make_model: Callable[..., Any], save: Callable[..., Path], samples: Path, tmp_path: Path
) -> None:
    """Half of the weights are a choice of features that costs nothing to prune; the other half are random."""
    generator = np.random.default_rng(0)
    weights = {
        "chosen": np.eye(64, 32, dtype=np.float32) + generator.normal(0, 1e-4, (64, 32)).astype(np.float32),
        "random": generator.standard_normal((32, 64)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "chosen"], ["h"]),
        helper.make_node("MatMul", ["h", "random"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"]),
    ]
    model = make_model(nodes, {"x": ["n", 64]}, {"y": None}, weights)
    np.savez(tmp_path / "data.npz", x=generator.standard_normal((512, 64)).astype(np.float32))
    hurt = search(save(model), options(samples, {"data.calibration": tmp_path / "data.npz"}))
    mild = search(samples / "digits_transformer.onnx", options(samples))
    (warned,) = [warning for warning in hurt.warnings if "before any finetuning" in warning]
    assert "`domino-onnx sweep` shows what fewer zeros would keep" in warned
    assert not any("before any finetuning" in warning for warning in mild.warnings)


def test_a_file_that_is_spoilt_says_so(
    make_model: Callable[..., Any], save: Callable[..., Path], samples: Path, tmp_path: Path
) -> None:
    """Of few samples none are set apart: the same samples judge the file, as they do at its end."""
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "one.npz", x=generator.standard_normal((1, 64)).astype(np.float32))
    given = {"data.calibration": tmp_path / "one.npz", "data.drawn": 0, "solver.method": "magnitude"}

    def pruned(name: str, weight: Any) -> Any:
        weights = {"w": weight.astype(np.float32)}
        product = helper.make_node("MatMul", ["x", "w"], ["y"])
        model = save(make_model([product], {"x": ["n", 64]}, {"y": None}, weights))
        return compress(model, tmp_path / name, options(samples, given))

    spoilt, mild = pruned("spoilt.onnx", generator.standard_normal((64, 64))), pruned("mild.onnx", np.eye(64))
    (warned,) = [warning for warning in spoilt.warnings if "lost much" in warning]
    assert "on 1 sample" in warned
    assert "`domino-onnx sweep` shows what fewer zeros would keep" in warned
    assert not any("lost much" in warning for warning in mild.warnings)


def test_a_loss_that_was_announced_is_not_told_again(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    result = compress(
        small_digits, tmp_path / "out.onnx", options(samples, {"goal.sparsity": 0.9, "solver.method": "magnitude"})
    )
    assert sum("before any finetuning" in warning for warning in result.warnings) == 1
    assert not any("lost much" in warning for warning in result.warnings)


def test_measuring_without_data_is_refused(samples: Path) -> None:
    with pytest.raises(DataError, match="--data"):
        search(
            samples / "digits_resnet.onnx",
            options(samples, {"data.calibration": NO_DATA, "search.strategy": "sensitivity"}),
        )


def test_what_cannot_be_cut_up_is_pruned_by_magnitude_and_says_so(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """A sequence is carried over the second weight."""
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["b"]),
        helper.make_node("SequenceAt", ["s", "zero"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    weights = {name: np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32) for name in ("w", "v")}
    model = make_model(nodes, {"x": ["n", 16]}, {"y": None}, {**weights, "zero": np.array(0)})
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(2).standard_normal((64, 16)).astype(np.float32))
    given = overridden(CompressOptions(), {"goal.sparsity": 0.5, "data.calibration": tmp_path / "data.npz"})
    result = compress(save(model), tmp_path / "out.onnx", given)
    assert (result.plan.strategy, result.solver) == ("domino", "magnitude")
    assert any("piece by piece" in warning for warning in result.warnings)
    assert verify(tmp_path / "out.onnx").holds

"""From a dense file to a sparse one that others accept, counted by code that shares nothing with the project."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import domino_onnx
from domino_onnx.errors import DominoError, PlanError
from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, RunOptions, overridden
from domino_onnx.pipeline import apply, compress, evaluate, finetune, search, verify
from domino_onnx.scheme import FrozenMapping, NMScheme, Plan

HALF = {"goal.sparsity": 0.5, "search.strategy": "uniform"}


def options(given: Mapping[str, Any]) -> CompressOptions:
    """These fields, by ``group.field``, and one thread."""
    return overridden(CompressOptions(), {"run.threads": 1, "data.calibration": NO_DATA, **given})


def test_the_public_surface_is_this() -> None:
    assert sorted(domino_onnx.__all__) == [
        "BenchmarkResult", "CompressResult", "ConvertResult", "DeployResult", "DoctorResult", "DominoError",
        "DominoWarning", "EvaluateResult", "InspectResult", "NMScheme", "Observer", "Plan", "Progress", "SearchResult",
        "SweepResult", "VerifyResult", "WrittenModel", "__version__", "apply", "benchmark", "compress", "convert",
        "deploy", "doctor", "errors", "evaluate", "finetune", "inspect", "search", "session", "sweep", "verify",
    ]  # fmt: skip
    for name in domino_onnx.__all__:
        assert hasattr(domino_onnx, name)


def test_public_names_stay_functions_whatever_was_imported(root: Path) -> None:
    pytest.importorskip("torch")
    names = [name for name in domino_onnx.__all__ if name.islower() and name not in ("errors", "__version__")]
    code = (
        "import domino_onnx, importlib, pkgutil\n"
        "for module in pkgutil.iter_modules(domino_onnx.__path__, 'domino_onnx.'):\n"
        "    if module.name != 'domino_onnx.__main__':\n        importlib.import_module(module.name)\n"
        f"bad = [name for name in {names} if not callable(getattr(domino_onnx, name))]\n"
        "assert not bad, bad"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False, timeout=100
    )
    assert ran.returncode == 0, ran.stderr


def test_every_error_is_a_domino_error_with_an_exit_code() -> None:
    for name in domino_onnx.errors.__all__:
        kind = getattr(domino_onnx.errors, name)
        assert issubclass(kind, DominoError)
        assert kind.exit_code == {"CheckFailed": 3, "OptionError": 2}.get(name, 1)


def test_a_copy_of_an_error_says_the_same() -> None:
    """The laboratory raises copies, and pickle makes them."""
    for name in domino_onnx.errors.__all__:
        error = getattr(domino_onnx.errors, name)(["Odd", "Even"])
        for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def zero_counts(path: Path) -> dict[str, tuple[Any, str, int]]:
    """Name -> (weight, operator, reduction axis) for what Conv, Gemm and MatMul read, from the raw protobuf."""
    model = onnx.load(path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producer = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        name, flips = node.input[1], 0
        while name not in stored and name in producer and producer[name].op_type in ("Identity", "Transpose"):
            flips += producer[name].op_type == "Transpose"
            name = producer[name].input[0]
        if name not in stored:
            continue
        weight = stored[name]
        if node.op_type == "Conv":
            axis = 1
        else:
            transposed = any(a.name == "transB" and a.i for a in node.attribute) != bool(flips % 2)
            axis = weight.ndim - (1 if transposed else 2)
        found[name] = (weight, node.op_type, axis)
    return found


def obeys(weight: Any, axis: int, n: int, m: int) -> bool:
    moved = np.moveaxis(weight, axis, -1)
    return bool((np.count_nonzero(moved.reshape(-1, m), axis=1) <= n).all())


@pytest.fixture(scope="module", params=["convolutions", "products"])
def compressed(
    request: pytest.FixtureRequest, small_digits: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """One run with data and a few steps of finetuning; the result and the dense model."""
    source = small_digits if request.param == "convolutions" else samples / "digits_transformer.onnx"
    output = tmp_path_factory.mktemp("out") / "sparse.onnx"
    given = {
        "goal.sparsity": 0.875,
        "data.calibration": samples / "digits_calibration.npz",
        "data.evaluation": samples / "digits_evaluation.npz",
        "finetune.steps": 30,
        "finetune.lr": 3e-3,
    }
    return compress(source, output, options(given)), source


def test_the_file_is_accepted_by_the_checker_and_runs(compressed: Any, run_ort: Callable[..., list[Any]]) -> None:
    result, source = compressed
    onnx.checker.check_model(onnx.load(result.output), full_check=True)
    x = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    dense, sparse = run_ort(source, {"image": x})[0], run_ort(result.output, {"image": x})[0]
    assert sparse.shape == dense.shape
    assert np.isfinite(sparse).all()
    assert (sparse != dense).any()


def test_each_weight_obeys_its_scheme_and_the_budget_is_met_closely(compressed: Any) -> None:
    result, source = compressed
    weights, dense = zero_counts(result.output), zero_counts(source)
    zeros = sum(int((weight == 0).sum()) for weight, _, _ in weights.values())
    total = sum(weight.size for weight, _, _ in weights.values())
    assert 0.875 <= zeros / total < 0.89
    assert result.sparsity == pytest.approx(zeros / total)
    pruned = {record.weight: record.scheme for record in result.weights if record.scheme.n < record.scheme.m}
    assert pruned
    for name, scheme in pruned.items():
        weight, _, axis = weights[name]
        assert obeys(weight, axis, scheme.n, scheme.m), name
    for name in weights.keys() - pruned.keys():
        np.testing.assert_array_equal(weights[name][0], dense[name][0])
    assert len({str(scheme) for scheme in pruned.values()}) > 1, "schemes are mixed"


def test_finetuning_never_makes_it_worse_and_the_manifest_holds(compressed: Any) -> None:
    result, _ = compressed
    assert result.finetuned.after <= result.finetuned.before
    assert result.parity.inputs == "data"
    assert result.parity.comparison.samples == 697
    assert result.parity.comparison.top1_reference > 0.95
    verdict = verify(result.output)
    assert verdict.holds
    assert {finding.weight for finding in verdict.findings} == {
        record.weight for record in result.weights if record.scheme.n < record.scheme.m
    }


def test_one_scheme_for_all_is_finetuned_like_any_plan(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    given = {
        "goal.scheme": NMScheme(2, 4),
        "data.calibration": samples / "digits_calibration.npz",
        "data.evaluation": samples / "digits_evaluation.npz",
        "finetune.steps": 20,
        "finetune.lr": 3e-3,
    }
    result = compress(small_digits, tmp_path / "out.onnx", options(given))
    assert (result.plan.strategy, result.plan.budgets, result.decisions) == ("uniform", (), ())
    assert result.finetuned.after <= result.finetuned.before
    weights = zero_counts(tmp_path / "out.onnx")
    for record in result.weights:
        weight, _, axis = weights[record.weight]
        assert obeys(weight, axis, 2, 4), record.weight
    assert verify(tmp_path / "out.onnx").holds


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Polygraphy's own
def test_polygraphy_agrees_where_it_knows_the_pattern(samples: Path, tmp_path: Path) -> None:
    """Its inspector looks for NVIDIA's 2:4: nowhere in the dense model, in every site of ours."""
    checker = pytest.importorskip("polygraphy.tools.sparse", reason="Polygraphy isn't installed")
    source, output = samples / "digits_resnet.onnx", tmp_path / "out.onnx"
    schemes = compress(source, output, options({"goal.scheme": NMScheme(2, 4)})).plan.schemes
    if not hasattr(checker, "SparsityPruner"):
        pytest.skip("this Polygraphy has no SparsityPruner")
    expected = {str(key) for key in schemes}
    found = []
    for path in (source, output):
        pruner = checker.SparsityPruner(onnx.load(path))
        pruner.check()
        found.append(expected & pruner.sparse_tensors)
    assert found == [set(), expected]


@pytest.mark.parametrize("strategy", ["uniform", "erk", "domino"])
def test_without_data_every_strategy_meets_the_budget(strategy: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = compress(
        samples / "digits_transformer.onnx", output, options({"goal.sparsity": 0.875, "search.strategy": strategy})
    )
    weights = zero_counts(output)
    zeros = sum(int((weight == 0).sum()) for weight, _, _ in weights.values())
    assert zeros / sum(weight.size for weight, _, _ in weights.values()) >= 0.875
    assert result.finetuned is None
    assert any("--data" in warning for warning in result.warnings)
    assert result.parity.inputs == "random"
    assert verify(output).holds


def test_a_flops_budget_is_met(small_digits: Path, tmp_path: Path) -> None:
    source = small_digits
    result = compress(source, tmp_path / "out.onnx", options({"goal.flops_reduction": 0.6}))
    macs = {site.key.name: site.macs for site in result.inventory.sites}
    total = sum(macs.values()) + sum(skip.macs for skip in result.inventory.skips if skip.counted)
    saved = sum(macs[record.weight] * (1 - record.scheme.n / record.scheme.m) for record in result.weights)
    assert saved / total >= 0.6
    assert result.planned_flops_saved == pytest.approx(saved / total)


def test_the_same_seed_gives_the_same_file(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    given = {
        "goal.sparsity": 0.875,
        "data.calibration": samples / "digits_calibration.npz",
        "finetune.steps": 4,
        "finetune.lr": 3e-3,
        "search.strategy": "erk",
        "run.seed": 5,
    }
    for name in ("a.onnx", "b.onnx"):
        compress(small_digits, tmp_path / name, options(given))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_plan_edit_apply_finetune(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    source, sparse, finetuned = small_digits, tmp_path / "sparse.onnx", tmp_path / "finetuned.onnx"
    text = search(source, options(HALF)).plan.to_json()
    document = json.loads(text)
    document["sites"][1]["scheme"] = "1:8"
    plan = Plan.from_json(json.dumps(document))
    apply(source, plan, sparse, options({}))
    name = document["sites"][1]["weight"]
    assert obeys(zero_counts(sparse)[name][0], 1, 1, 8)
    data = samples / "digits_calibration.npz"
    again = options({"data.calibration": data, "finetune.steps": 20, "finetune.lr": 3e-3})
    result = finetune(sparse, source, finetuned, again)
    assert result.finetuned.after < result.finetuned.before
    before, after = zero_counts(sparse), zero_counts(finetuned)
    for key, (weight, _, _) in before.items():
        assert not after[key][0][weight == 0].any()
    assert any((after[key][0] != weight).any() for key, (weight, _, _) in before.items())
    assert verify(finetuned).holds
    given = CompressOptions(run=RunOptions(threads=1))
    judged = evaluate(source, finetuned, samples / "digits_evaluation.npz", given).comparison
    worse = evaluate(source, sparse, samples / "digits_evaluation.npz", given).comparison
    assert judged.kl < worse.kl


def test_finetuning_a_file_without_a_manifest_is_refused(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    source = small_digits
    given = CompressOptions(data=DataOptions(calibration=samples / "digits_calibration.npz"))
    with pytest.raises(PlanError, match="manifest"):
        finetune(source, source, tmp_path / "out.onnx", given)


def test_a_model_that_is_sparse_already_can_be_compressed_further(small_digits: Path, tmp_path: Path) -> None:
    source = small_digits
    compress(source, tmp_path / "half.onnx", options(HALF))
    result = compress(tmp_path / "half.onnx", tmp_path / "more.onnx", options({**HALF, "goal.sparsity": 0.875}))
    assert result.sparsity >= 0.875
    assert verify(tmp_path / "more.onnx").holds


def test_a_model_with_a_foreign_operator_is_compressed_without_finetuning(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """No runtime here can run it. Its weights are pruned all the same, and the result says what was not done."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Mystery", ["a"], ["y"], domain="my.domain"),
    ]
    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    source = save(make_model(nodes, {"x": ["b", 16]}, {"y": None}, {"w": weight}, domains={"my.domain": 1}))
    np.savez(tmp_path / "data.npz", x=np.ones((20, 16), np.float32))
    given = {"goal.sparsity": 0.5, "data.calibration": tmp_path / "data.npz", "finetune.steps": 4}
    result = compress(source, tmp_path / "out.onnx", options(given))
    assert result.parity is None
    assert result.finetuned is None
    assert any("Mystery" in warning for warning in result.warnings)
    assert verify(tmp_path / "out.onnx").holds


def test_a_half_precision_file_stays_one(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float16)
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["b", 32]}, {"y": None}, {"w": weight}, dtype=10
    )
    rng = np.random.default_rng(1)
    x = (
        rng.standard_normal((512, 8)) @ rng.standard_normal((8, 32)) / 3
    )  # of independent features none makes up for any
    np.savez(tmp_path / "data.npz", x=x.astype(np.float16))
    given = {
        "goal.sparsity": 0.875,
        "data.calibration": tmp_path / "data.npz",
        "solver.method": "magnitude",  # a refit leaves a linear model nothing to learn
        "finetune.steps": 80,
        "finetune.lr": 2e-2,
    }
    result = compress(save(model), tmp_path / "out.onnx", options(given))
    written = onnx.load(tmp_path / "out.onnx").graph.initializer[0]
    assert written.data_type == 10
    assert np.mean(numpy_helper.to_array(written) == 0) >= 0.875
    assert result.finetuned.after < result.finetuned.before


def test_an_edited_plan_that_leaves_its_budget_behind_says_so(small_digits: Path, tmp_path: Path) -> None:
    source = small_digits
    plan = search(source, options(HALF)).plan
    largest = max(plan.schemes, key=lambda key: key.name)
    edited = dataclasses.replace(plan, schemes=FrozenMapping({**plan.schemes, largest: NMScheme(16, 16)}))
    result = apply(source, edited, tmp_path / "out.onnx", options(HALF))
    assert any("but names 0.5" in warning for warning in result.warnings)
    assert result.plan.budgets == ()

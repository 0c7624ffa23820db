"""Models that were quantised before: integers are pruned, refitted on their own grid, and counted by other code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import compress, convert, doctor, verify
from domino_onnx.scheme import NMScheme

Build = Callable[..., Path]
Run = Callable[..., Any]
Array = np.ndarray[Any, np.dtype[Any]]
node = helper.make_node
LEVELS = 15
"""So few that rounding shows."""
WEIGHTS = {"w": (1, (0,)), "t": (1, ()), "u": (0, (0,)), "v": (0, (1,))}
"""The axis that is summed over, and the one that has a scale for each place."""


def quantised(weight: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Integers and scales, one for each place on `axes`."""
    others = tuple(axis for axis in range(weight.ndim) if axis not in axes)
    scale = (np.abs(weight).max(axis=others, keepdims=True) / LEVELS).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1) if axes else scale.reshape(())


@pytest.fixture
def build(make_model: Run, save: Run, tmp_path: Path) -> Build:
    """A convolution with a float bias, a product behind a Transpose, one with scales along what is summed, two shared.

    With `float_end` the last weight is float32.
    """

    def make(*, float_end: bool = False) -> Path:
        rng = np.random.default_rng(0)
        shapes = {"w": (32, 16, 3, 3), "t": (32, 32), "u": (32, 32), "v": (32, 32)}
        arrays: dict[str, Any] = {"b": rng.standard_normal(32).astype(np.float32) / 4}
        for name, (_, axes) in WEIGHTS.items():
            wide = rng.standard_normal(shapes[name]).astype(np.float32) / 8
            wide *= np.exp(rng.standard_normal([n if k in axes else 1 for k, n in enumerate(wide.shape)]) / 2)
            arrays[name], arrays[f"{name}s"] = quantised(wide.astype(np.float32), axes)
        arrays["end"] = rng.standard_normal((32, 16)).astype(np.float32) / 6
        nodes = [
            node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
            node("Conv", ["x", "wd", "b"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Transpose", ["t"], ["tt"]),
            node("DequantizeLinear", ["tt", "ts"], ["td"]),
            node("MatMul", ["f", "td"], ["g"]),
            node("Relu", ["g"], ["h"]),
            node("DequantizeLinear", ["u", "us"], ["ud"], axis=0),
            node("MatMul", ["h", "ud"], ["i"]),
            *(node("DequantizeLinear", ["v", "vs"], [f"vd{k}"], axis=1) for k in (0, 1)),
            node("Gemm", ["i", "vd0"], ["j"]),
            node("Tanh", ["j"], ["k"]),
            node("Gemm", ["k", "vd1"], ["l"]),
            *([node("MatMul", ["l", "end"], ["y"])] if float_end else [node("Identity", ["l"], ["y"])]),
        ]
        if not float_end:
            del arrays["end"]
        x = rng.standard_normal((256, 16, 6, 6)).astype(np.float32)
        np.savez(tmp_path / "data.npz", x=x * np.exp(rng.standard_normal((1, 16, 1, 1))).astype(np.float32))
        width = 16 if float_end else 32
        return save(make_model(nodes, {"x": ["n", 16, 6, 6]}, {"y": ["n", width]}, arrays, opset=17))

    return make


def options(given: Mapping[str, Any] | None = None) -> CompressOptions:
    """2:4 without finetuning; `given` by ``group.field``."""
    fields = {
        "goal.scheme": NMScheme(2, 4),
        "data.calibration": NO_DATA,
        "finetune.enabled": False,
        "run.threads": 1,
    }
    return overridden(CompressOptions(), {**fields, **(given or {})})


def stored(path: Path) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def most_of_four(weight: Array, axis: int) -> int:
    fours = np.moveaxis(weight, axis, -1).reshape(-1, 4)
    return int((fours != 0).sum(axis=1).max())


def spread(name: str, scale: Array, rank: int) -> Array:
    return scale.reshape([-1 if axis in WEIGHTS[name][1] else 1 for axis in range(rank)]) if scale.ndim else scale


def test_magnitudes_are_those_of_the_floats_and_survivors_stay(build: Build, tmp_path: Path) -> None:
    model, output = build(), tmp_path / "out.onnx"
    result = compress(model, output, options())
    before, after = stored(model), stored(output)
    for name, (axis, _) in WEIGHTS.items():
        weight = before[name]
        floats = np.abs(weight * spread(name, before[f"{name}s"], weight.ndim)).astype(np.float32)
        fours = np.moveaxis(floats, axis, -1).reshape(-1, 4)
        kept = np.zeros(fours.shape, bool)
        np.put_along_axis(kept, np.argsort(-fours, axis=1, kind="stable")[:, :2], True, axis=1)
        moved = np.moveaxis(weight, axis, -1)
        expected = np.moveaxis(np.where(kept.reshape(moved.shape), moved, 0), -1, axis)
        assert np.array_equal(after[name], expected)
    others = before.keys() - WEIGHTS.keys()
    assert all(np.array_equal(before[name], after[name]) for name in others)
    zeros = sum(int((after[name] == 0).sum()) for name in WEIGHTS)
    assert result.sparsity == zeros / sum(after[name].size for name in WEIGHTS)
    assert {record.weight: record.zeros for record in result.weights} == {
        name: int((after[name] == 0).sum()) for name in WEIGHTS
    }
    assert verify(output).holds
    assert {found.state for found in doctor(output).diagnoses} == {"legal"}


def test_a_refit_measures_what_it_writes(build: Build, tmp_path: Path, run_ort: Run) -> None:
    model, plain, output = build(), tmp_path / "plain.onnx", tmp_path / "out.onnx"
    compress(model, plain, options())
    result = compress(model, output, options({"data.calibration": tmp_path / "data.npz"}))
    assert result.solver == "refit"
    before, after = stored(model), stored(output)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {*WEIGHTS, "b"}
    for name, (axis, _) in WEIGHTS.items():
        assert after[name].dtype == np.int8
        assert after[name].min() >= -127
        assert most_of_four(after[name], axis) <= 2
    with np.load(tmp_path / "data.npz") as arrays:
        dense, magnitude, refitted = (run_ort(path, {"x": arrays["x"]})[0] for path in (model, plain, output))
    learned = np.sort(np.random.default_rng(0).permutation(len(dense))[round(len(dense) / 8) :])  # the rest judges
    wide = dense[learned].astype(np.float64)
    worse, error = (
        np.mean(np.mean((wide - got[learned]) ** 2, axis=0) / wide.var(axis=0)) for got in (magnitude, refitted)
    )
    assert result.divergence == pytest.approx(error, rel=1e-3)
    assert error < 0.7 * worse


@pytest.mark.parametrize(
    "recipe",
    [
        {"search.strategy": "uniform"},
        {"search.strategy": "erk", "solver.method": "sparsegpt"},
        {"search.strategy": "domino", "solver.method": "magnitude"},
        {"search.strategy": "domino", "solver.method": "refit", "solver.masks": "activation"},
        {"search.strategy": "sensitivity", "target.runtime": "tensorrt"},
        {"search.strategy": "measured-domino"},
        {"search.strategy": "uniform", "output.format": "packed"},
    ],
    ids=lambda recipe: " ".join(recipe.values()),
)
def test_every_way_through(recipe: dict[str, str], build: Build, domino: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    common = ["--sparsity", "0.7", "--data", tmp_path / "data.npz", "--finetune-steps", "2", "--threads", "1"]
    ran = domino("compress", build(), *common, "-o", output, "--json", recipe=recipe)
    assert ran.code == 0, ran.err
    assert verify(output).holds
    convert(output, tmp_path / "dense.onnx", "dense")
    after = stored(tmp_path / "dense.onnx")
    zeros, size = (sum(count(after[name]) for name in WEIGHTS) for count in (lambda w: int((w == 0).sum()), np.size))
    assert zeros >= 0.7 * size
    document = json.loads(ran.out)
    assert document["sparsity"] == pytest.approx(zeros / size)
    assert sum("finetuning is skipped" in warning for warning in document["warnings"]) == 1


def test_a_drop_that_is_allowed_is_measured_on_them(build: Build, domino: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    given = ["--max-drop", "0.2", "--data", tmp_path / "data.npz", "--no-finetune", "--threads", "1", "--json"]
    ran = domino("compress", build(), *given, "-o", output)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["sparsity"] > 0.1
    assert verify(output).holds


@pytest.mark.parametrize("scope", ["model", "blocks"])
def test_floats_beside_them_are_finetuned_and_they_are_named(
    scope: str, build: Build, domino: Run, tmp_path: Path
) -> None:
    model, plain, output = build(float_end=True), tmp_path / "plain.onnx", tmp_path / "out.onnx"
    common = ["--scheme", "2:4", "--data", tmp_path / "data.npz", "--threads", "1", "--json"]
    recipe = {"finetune.scope": scope, "solver.method": "magnitude"}
    assert domino("compress", model, *common, "--no-finetune", "-o", plain, recipe=recipe).code == 0
    ran = domino("compress", model, *common, "--finetune-steps", "40", "-o", output, recipe=recipe)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["finetuning"] is not None, document["warnings"]
    assert sorted(document["finetuning"]["frozen"]) == sorted(WEIGHTS)
    assert document["finetuning"]["after"] < document["finetuning"]["before"]
    before, after = stored(plain), stored(output)
    assert all(np.array_equal(before[name], after[name]) for name in WEIGHTS)
    assert not np.array_equal(before["end"], after["end"])
    assert most_of_four(after["end"], 0) <= 2
    assert verify(output).holds


def test_gradients_of_the_floats_beside_them(build: Build, domino: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    common = ["--sparsity", "0.6", "--data", tmp_path / "data.npz", "--no-finetune", "--threads", "1", "--json"]
    ran = domino("compress", build(float_end=True), *common, "-o", output, recipe={"search.strategy": "domino"})
    assert ran.code == 0, ran.err
    assert not any("gradients" in warning for warning in json.loads(ran.out)["warnings"])
    assert verify(output).holds


def test_a_file_of_integers_alone_has_nothing_to_finetune(build: Build, domino: Run, tmp_path: Path) -> None:
    model, output, more = build(), tmp_path / "out.onnx", tmp_path / "more.onnx"
    data = ["--data", tmp_path / "data.npz", "--threads", "1"]
    ran = domino("compress", model, "--scheme", "2:4", *data, "-o", output)
    assert ran.code == 0, ran.err
    assert "finetuning is skipped: all weights to be pruned are integers" in " ".join(ran.err.split())
    ran = domino("finetune", output, "--teacher", model, *data, "-o", more)
    assert (ran.code, more.exists()) == (1, False)
    assert "integers, which no gradient moves" in " ".join(ran.err.split())


@pytest.mark.parametrize(
    "given",
    [
        {"output.precision": "fp16"},
        {"output.weights": "int8"},
        {"output.precision": "fp16", "output.weights": "int8"},
    ],
)
def test_fewer_bits_for_what_is_float(given: dict[str, str], build: Build, tmp_path: Path, run_ort: Run) -> None:
    model, full, small = build(float_end=True), tmp_path / "full.onnx", tmp_path / "small.onnx"
    compress(model, full, options())
    compress(model, small, options(given))
    assert verify(small).holds
    assert all(np.array_equal(stored(full)[name], stored(small)[name]) for name in WEIGHTS)
    with np.load(tmp_path / "data.npz") as arrays:
        theirs, ours = (run_ort(path, {"x": arrays["x"][:16]})[0] for path in (full, small))
    np.testing.assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs).max())


def test_quantised_by_onnxruntime(samples: Path, small_digits: Path, tmp_path: Path, run_ort: Run) -> None:
    """Activations, weights and biases in 8, 8 and 32 bits, the way TensorRT wants them."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    model, output = tmp_path / "model.onnx", tmp_path / "out.onnx"
    with np.load(samples / "digits_calibration.npz") as arrays:
        data = {name: arrays[name] for name in arrays.files}

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        batches = iter([{name: data[name][:128] for name in data if not name.startswith("label")}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    quantization.quantize_static(
        small_digits,
        model,
        Reader(),
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QInt8,
        extra_options={"ActivationSymmetric": True},
    )
    data = {
        "data.calibration": samples / "digits_calibration.npz",
        "data.evaluation": samples / "digits_evaluation.npz",
    }
    result = compress(model, output, options(data))
    comparison = result.parity.comparison
    assert comparison.top1_reference - comparison.top1_candidate < 0.02
    before, after = stored(model), stored(output)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {record.weight for record in result.weights}
    assert {after[name].dtype for name in changed} == {np.dtype(np.int8)}
    assert verify(output).holds
    kinds = {tensor.data_type for tensor in onnx.load(output).graph.initializer}
    assert TensorProto.INT32 in kinds

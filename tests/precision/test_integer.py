"""`--weights int8`: integers with a scale for each output channel, which ONNX Runtime makes the weights of again."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError, PlanError
from domino_onnx.options import CompressOptions, DataOptions
from domino_onnx.pipeline import compress, convert, doctor, finetune, verify
from domino_onnx.precision import Conversion

from .written import manifest, options, weights

Run = Callable[..., Any]
INT8 = Conversion(weights="int8")
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray[Any, Any]:
    """Rows of very different sizes, so that one scale for all of them would lose most."""
    values = RNG.standard_normal(shape).astype(np.float32)
    return values * 10.0 ** np.linspace(-3, 1, shape[0]).astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
@pytest.mark.parametrize("precision", ["keep", "fp16"])
def test_a_pruned_model_with_integers(name: str, precision: str, samples: Path, tmp_path: Path, run_ort: Run) -> None:
    model, small, full = samples / f"{name}.onnx", tmp_path / "small.onnx", tmp_path / "full.onnx"
    assert compress(model, small, options({"output.weights": "int8", "output.precision": precision})).parity is not None
    compress(model, full, options())
    assert verify(small).holds
    onnx.checker.check_model(onnx.load(small), full_check=True)
    stored, floats = weights(small), weights(full)
    for entry in manifest(full)["weights"]:
        integers, scales, zero = (stored[f"{entry['name']}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert (integers.dtype, scales.dtype, zero.any()) == (np.int8, np.float32, np.False_)
        assert not integers[floats[entry["name"]] == 0].any()
    claims = [entry["name"] for entry in manifest(small)["weights"]]
    assert claims == [f"{entry['name']}_quantized" for entry in manifest(full)["weights"]]
    assert manifest(small)["weight_type"] == "int8"
    assert small.stat().st_size < 0.45 * full.stat().st_size
    batch = np.load(samples / "digits_evaluation.npz")
    inputs = {value.name: batch[value.name][:64] for value in onnx.load(full).graph.input}
    ours, theirs = run_ort(small, inputs)[0], run_ort(full, inputs)[0]
    np.testing.assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs).max())


CASES: dict[str, tuple[str, list[str], dict[str, Any], tuple[int, ...], tuple[int, ...], int]] = {
    "Conv": ("Conv", ["x", "w"], {}, (2, 8, 9, 9), (16, 8, 3, 3), 0),
    "grouped Conv": ("Conv", ["x", "w"], {"group": 4}, (2, 16, 9, 9), (16, 4, 3, 3), 0),
    "ConvTranspose": ("ConvTranspose", ["x", "w"], {"group": 2}, (2, 16, 5, 5), (16, 6, 3, 3), 1),
    "Gemm": ("Gemm", ["x", "w"], {}, (3, 24), (24, 32), 1),
    "Gemm, transB": ("Gemm", ["x", "w"], {"transB": 1}, (3, 24), (32, 24), 0),
    "MatMul": ("MatMul", ["x", "w"], {}, (3, 24), (24, 32), 1),
    "MatMul of stacks": ("MatMul", ["x", "w"], {}, (2, 3, 24), (2, 24, 32), 2),
    "MatMul, left": ("MatMul", ["w", "x"], {}, (24, 3), (32, 24), 0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("constant", [False, True])
def test_every_channel_has_its_own_scale(
    case: str, constant: bool, make_model: Run, save: Run, tmp_path: Path, run_ort: Run
) -> None:
    op, inputs, attributes, x_shape, shape, axis = CASES[case]
    others = tuple(place for place in range(len(shape)) if place != axis)
    weight = np.moveaxis(normal(shape[axis], *(shape[place] for place in others)), 0, axis)
    nodes = [helper.make_node(op, inputs, ["y"], **attributes)]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)))
    arrays = {} if constant else {"w": weight}
    source, small = save(make_model(nodes, {"x": x_shape}, {"y": None}, arrays)), tmp_path / "small.onnx"
    convert(source, small, conversion=INT8)
    onnx.checker.check_model(onnx.load(small), full_check=True)
    scale = np.abs(weight).max(axis=others)
    np.testing.assert_allclose(weights(small)["w_scale"], scale / 127, rtol=1e-6)
    shown = onnx.load(small)
    shown.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, shape))
    x = RNG.standard_normal(x_shape).astype(np.float32)
    y, again = run_ort(shown, {"x": x})
    steps = np.expand_dims(scale / 127, others)
    assert (np.abs(again - weight) <= steps * 0.501).all()
    wanted = run_ort(source, {"x": x})[0]
    np.testing.assert_allclose(y, wanted, atol=0.02 * np.abs(wanted).max())


def test_shared_weights_branches_and_what_stays_float(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    def branch(name: str) -> onnx.GraphProto:
        stored = numpy_helper.from_array(RNG.standard_normal((16, 16)).astype(np.float32), f"{name}.w")
        made = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, ["n", 16])
        nodes = [helper.make_node("MatMul", ["h", stored.name], [made.name])]
        return helper.make_graph(nodes, name, [], [made], [stored])

    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"]),
        helper.make_node("Gemm", ["a", "shared"], ["b"]),
        helper.make_node("MatMul", ["b", "two_ways"], ["c"]),
        helper.make_node("Gemm", ["c", "two_ways"], ["d"], transB=1),
        helper.make_node("MatMul", ["d", "added"], ["e"]),
        helper.make_node("Add", ["e", "added"], ["h"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
    ]
    arrays = {name: RNG.standard_normal((16, 16)).astype(np.float32) / 4 for name in ("shared", "two_ways", "added")}
    model = make_model(nodes, {"x": [16, 16]}, {"y": [16, 16]}, {**arrays, "zero": np.float32(0)})
    source, small, full = save(model), tmp_path / "small.onnx", tmp_path / "full.onnx"
    compress(source, small, options({"output.weights": "int8"}))
    compress(source, full, options())
    assert verify(small).holds
    assert verify(full).holds
    stored = weights(small)
    assert set(stored) == {
        *(f"shared_{part}" for part in ("quantized", "scale", "zero_point")),
        "two_ways",
        "added",
        "zero",
    }
    place = next(place for place, node in enumerate(onnx.load(small).graph.node) if node.op_type == "If")
    scopes = {entry["name"]: entry.get("scope") for entry in manifest(small)["weights"]}
    assert scopes["then.w_quantized"] == [f"{place}.then_branch"]
    assert scopes["else.w_quantized"] == [f"{place}.else_branch"]
    for sign in (1, -1):
        x = sign * np.abs(RNG.standard_normal((16, 16)).astype(np.float32))
        ours, theirs = (run_ort(path, {"x": x})[0] for path in (small, full))
        np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(theirs).max())


def test_weights_that_round_to_zero_are_counted(make_model: Run, save: Run, tmp_path: Path) -> None:
    weight = normal(32, 16)
    weight[:, :4] = np.float32([1e-9, 0, 0, 1e-9])
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    source = save(make_model([node], {"x": ["n", 16]}, {"y": ["n", 32]}, {"w": weight}))
    small, full = tmp_path / "small.onnx", tmp_path / "full.onnx"
    result = compress(source, small, options({"output.weights": "int8"}))
    compress(source, full, options())
    assert verify(small).holds
    (ours,), (theirs,) = manifest(small)["weights"], manifest(full)["weights"]
    zeros = int((weights(small)["w_quantized"] == 0).sum())
    assert ours["zeros"] == zeros >= theirs["zeros"] + 64
    assert [record.zeros for record in result.weights] == [zeros]
    assert result.sparsity == result.sparsity_sites == zeros / weight.size


def test_zeros_of_weights_that_stay_dense_are_counted_as_they_are_written(
    make_model: Run, save: Run, tmp_path: Path
) -> None:
    few, odd = normal(16, 32), normal(32, 7)
    few[:, 0] = odd[:, 0] = 1e-9
    nodes = [
        helper.make_node("MatMul", ["x", "few"], ["h"]),
        helper.make_node("Gemm", ["h", "more"], ["k"]),
        helper.make_node("Gemm", ["k", "odd"], ["y"]),
    ]
    arrays = {"few": few, "more": normal(32, 32), "odd": odd}
    source, small = save(make_model(nodes, {"x": ["n", 16]}, {"y": ["n", 7]}, arrays)), tmp_path / "small.onnx"
    result = compress(source, small, options({"output.weights": "int8", "target.exclude": ("few",)}))
    stored = [values for name, values in weights(small).items() if name.endswith("_quantized")]
    zeros = [int((values == 0).sum()) for values in stored]
    assert len(zeros) == 3
    assert zeros[0] >= 15
    assert result.sparsity == sum(zeros) / sum(values.size for values in stored)


def test_integers_stay_the_integers_that_they_are(samples: Path, tmp_path: Path) -> None:
    small, again, both = (tmp_path / f"{name}.onnx" for name in ("small", "again", "both"))
    convert(samples / "digits_resnet.onnx", small, conversion=INT8)
    convert(small, again, conversion=INT8)
    assert all(np.array_equal(values, weights(again)[name]) for name, values in weights(small).items())
    compress(small, both, options({"output.weights": "int8", "output.precision": "fp16"}))
    assert verify(both).holds
    for entry in manifest(both)["weights"]:
        before, after = weights(small)[entry["name"]], weights(both)[entry["name"]]
        assert after.dtype == np.int8
        assert np.array_equal(after[after != 0], before[after != 0])
        assert entry["zeros"] == int((after == 0).sum()) >= after.size // 2


def test_packed_integers_and_external_ones(samples: Path, tmp_path: Path, run_ort: Run) -> None:
    (tmp_path / "in").mkdir()
    source, small, packed = tmp_path / "in" / "model.onnx", tmp_path / "small.onnx", tmp_path / "packed.onnx"
    onnx.save(onnx.load(samples / "digits_resnet.onnx"), source, save_as_external_data=True, location="w.data")
    compress(source, small, options({"output.weights": "int8"}))
    convert(small, packed, "packed")
    assert verify(small).holds
    assert verify(packed).holds
    assert len(list(tmp_path.glob("small.onnx.*.data"))) == 1
    convert(packed, tmp_path / "back.onnx", "dense")
    batch = np.load(samples / "digits_evaluation.npz")
    inputs = {value.name: batch[value.name][:8] for value in onnx.load(samples / "digits_resnet.onnx").graph.input}
    outputs = {run_ort(tmp_path / f"{name}.onnx", inputs)[0].tobytes() for name in ("small", "packed", "back")}
    assert len(outputs) == 1


def test_what_lifts_an_old_opset_does(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    """The command can be copied as it is, from any folder and whatever the file is called."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = save(make_model([node], {"x": [1, 32]}, {"y": [1, 32]}, {"w": normal(32, 32)}, opset=11))
    source = model.rename(tmp_path / 'it\'s a "model".onnx')
    with pytest.raises(ModelError, match="opset 11 has no scales") as refused:
        convert(source, tmp_path / "out.onnx", conversion=INT8)
    command = shlex.split(str(refused.value).split("first: ", 1)[1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    convert(tmp_path / 'it\'s a "model".13.onnx', tmp_path / "out.onnx", conversion=INT8)
    x = normal(1, 32)
    np.testing.assert_allclose(run_ort(tmp_path / "out.onnx", {"x": x})[0], run_ort(source, {"x": x})[0], atol=0.5)


def test_what_can_t_be_lifted_is_said(make_model: Run, save: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft"),
    ]
    arrays = {"w": normal(32, 32)}
    model = make_model(nodes, {"x": [1, 32]}, {"y": [1, 32]}, arrays, opset=11, domains={"com.microsoft": 1})
    with pytest.raises(ModelError, match=r"doesn't lift operators of com\.microsoft: export the model again"):
        convert(save(model), tmp_path / "out.onnx", conversion=INT8)


def test_refusals(make_model: Run, save: Run, samples: Path, tmp_path: Path) -> None:
    out, small, full = (tmp_path / f"{name}.onnx" for name in ("out", "small", "full"))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    arrays = {"w": normal(32, 32)}

    def model(**more: Any) -> Path:
        return save(make_model([node], {"x": [1, 32]}, {"y": [1, 32]}, arrays, **more))

    with pytest.raises(ModelError, match="opset 12 has no scales"):
        convert(model(opset=12), out, conversion=INT8)
    arrays["w"] = arrays["w"].astype(np.float16)
    with pytest.raises(ModelError, match="no float32 weight"):
        convert(model(dtype=TensorProto.FLOAT16), out, conversion=INT8)
    compress(samples / "digits_resnet.onnx", full, options())
    convert(full, small, conversion=INT8)
    with pytest.raises(PlanError, match="--weights int8"):
        finetune(
            small,
            samples / "digits_resnet.onnx",
            out,
            CompressOptions(data=DataOptions(calibration=samples / "digits_calibration.npz")),
        )
    assert not out.exists()


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_weights_without_a_scale_are_refused(worst: float, make_model: Run, save: Run, tmp_path: Path) -> None:
    weight = normal(32, 32)
    weight[3, 4] = worst
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    source = save(make_model([node], {"x": [1, 32]}, {"y": [1, 32]}, {"w": weight}))
    with pytest.raises(ModelError, match="holds NaN or infinity in 1 of 1,024 values"):
        convert(source, tmp_path / "out.onnx", conversion=INT8)
    assert not (tmp_path / "out.onnx").exists()


def test_weights_that_stay_floats_are_told(make_model: Run, save: Run, tmp_path: Path) -> None:
    arrays = {name: normal(32, 32) for name in ("w", "added")}
    inner = [
        helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(normal(32, 32), "v")),
        helper.make_node("MatMul", ["a", "v"], ["b"]),
    ]
    nodes = [
        helper.make_node("F", ["x"], ["h"], domain="own"),
        helper.make_node("MatMul", ["h", "w"], ["k"]),
        helper.make_node("MatMul", ["k", "added"], ["l"]),
        helper.make_node("Add", ["l", "added"], ["y"]),
    ]
    model = make_model(nodes, {"x": [32, 32]}, {"y": [32, 32]}, arrays, domains={"own": 1})
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], inner, [helper.make_opsetid("", model.opset_import[0].version)])
    )
    source, out = save(model), tmp_path / "out.onnx"
    told = " ".join(convert(source, out, conversion=INT8).warnings)
    assert set(weights(out)) == {"w_quantized", "w_scale", "w_zero_point", "added"}
    assert "leaves 1 weight in float32" in told
    assert "local functions keep theirs" in told
    assert "'added' first: other nodes read them otherwise" in told
    behind = [
        helper.make_node("Reshape", ["flat", "sizes"], ["shaped"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("MatMul", ["x", "shaped"], ["h"]),
        helper.make_node("MatMul", ["h", "shares"], ["k"]),
        helper.make_node("MatMul", ["k", "w"], ["y"]),
    ]
    stored = {"flat": normal(16, 64), "sizes": np.array([32, 32]), "scores": normal(32, 32), "w": arrays["w"]}
    derived = save(make_model(behind, {"x": [32, 32]}, {"y": [32, 32]}, stored))
    (warning,) = convert(derived, out, conversion=INT8, force=True).warnings
    assert "2 weights in float32, 'flat' first: other operators are between weight and product" in warning
    source = save(model)
    compressed = compress(source, tmp_path / "pruned.onnx", options({"output.weights": "int8"}))
    assert "local functions keep theirs" in " ".join(compressed.warnings)
    plain = save(make_model(nodes[1:2], {"h": [32, 32]}, {"k": [32, 32]}, {"w": arrays["w"]}))
    assert not convert(plain, out, conversion=INT8, force=True).warnings


def test_tensorrt_s_rule_is_proven_on_the_integers(make_model: Run, save: Run, tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    source = save(make_model([node], {"x": [1, 32, 5, 5]}, {"y": [1, 16, 3, 3]}, {"w": normal(16, 32, 3, 3)}))
    small, broken = tmp_path / "small.onnx", tmp_path / "broken.onnx"
    compress(
        source, small, options({"output.weights": "int8", "output.precision": "fp16", "target.runtime": "tensorrt"})
    )
    assert verify(small).holds
    assert [(found.state, found.site.dtype) for found in doctor(small).diagnoses] == [("legal", "int8")]
    model = onnx.load(small)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w_quantized")
    integers = numpy_helper.to_array(tensor).copy()
    integers[3, 4:8, 1, 2] = 1
    tensor.CopyFrom(numpy_helper.from_array(integers, tensor.name))
    onnx.save(model, broken)
    assert not verify(broken).holds
    (found,) = doctor(broken).diagnoses
    assert (found.state, found.fours.broken, found.fours.first) == ("broken", 1, (3, 4, 1, 2))


def test_integers_with_a_zero_point_are_not_judged(make_model: Run, save: Run, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    source = save(make_model([node], {"x": [1, 32]}, {"y": [1, 32]}, {"w": normal(32, 32).T.copy()}))
    small = tmp_path / "small.onnx"
    convert(source, small, conversion=INT8)
    assert [found.state for found in doctor(small).diagnoses] == ["dense"]
    model = onnx.load(small)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w_zero_point")
    tensor.CopyFrom(numpy_helper.from_array(np.ones(32, np.int8), tensor.name))
    onnx.save(model, small)
    assert not doctor(small).diagnoses
    assert len(doctor(small).skips) == 1

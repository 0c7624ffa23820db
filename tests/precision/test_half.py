"""`--precision fp16`: ONNX Runtime runs the file, zeros and manifest are the same, refusals are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.pipeline import compress, convert, finetune, inspect, search, verify
from domino_onnx.precision import Conversion

from .written import manifest, options, weights

Run = Callable[..., Any]
HALF = Conversion(precision="fp16")
SMALLEST = 2.0**-24


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_a_pruned_model_in_half_precision(name: str, samples: Path, tmp_path: Path, run_ort: Run) -> None:
    model, half, full = samples / f"{name}.onnx", tmp_path / "half.onnx", tmp_path / "full.onnx"
    result = compress(model, half, options({"output.precision": "fp16"}))
    compress(model, full, options())
    assert result.parity is not None  # compared with the dense float32 model, after the conversion
    assert verify(half).holds
    written = onnx.load(half)
    onnx.checker.check_model(written, full_check=True)
    before = onnx.load(full)
    assert [tensor.name for tensor in written.graph.initializer] == [tensor.name for tensor in before.graph.initializer]
    assert (written.ir_version, written.opset_import) == (before.ir_version, before.opset_import)
    assert [value.SerializeToString() for value in written.graph.input] == [
        value.SerializeToString() for value in before.graph.input
    ]
    assert {node.name for node in before.graph.node} <= {node.name for node in written.graph.node}
    for name_, array in weights(full).items():
        now = weights(half)[name_]
        assert now.dtype == (np.float16 if array.dtype == np.float32 else array.dtype)
        assert np.array_equal(now != 0, array != 0), name_
        np.testing.assert_allclose(now.astype(np.float64), array, rtol=2**-11, atol=SMALLEST)
    ours, theirs = manifest(half), manifest(full)
    for entry in (*ours["weights"], *theirs["weights"]):
        del entry["values_sha256"]
    assert ours == {**theirs, "precision": "fp16"}
    batch = np.load(samples / "digits_evaluation.npz")
    inputs = {value.name: batch[value.name][:64] for value in before.graph.input}
    ours, theirs = run_ort(half, inputs)[0], run_ort(full, inputs)[0]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(theirs).max())


def test_what_float16_can_t_hold_stays_no_zero(make_model: Run, save: Run, tmp_path: Path) -> None:
    weight = np.tile(np.array([[1e-12], [-1e-30], [0], [-0.0], [0.1], [0]], np.float32), (1, 4))
    mask = np.float32([1e9, -1e9, -np.inf, 0])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "mask"], ["y"])]
    source = save(make_model(nodes, {"x": ["n", 6]}, {"y": ["n", 4]}, {"w": weight, "mask": mask}))
    convert(source, tmp_path / "half.onnx", conversion=HALF)
    column = weights(tmp_path / "half.onnx")["w"][:, 0]
    assert column.tolist() == [SMALLEST, -SMALLEST, 0, 0, np.float16(0.1), 0]
    assert weights(tmp_path / "half.onnx")["mask"].tolist() == [65504, -65504, -np.inf, 0]


def branches(make_model: Run) -> ModelProto:
    """A weight in each branch of an If, and one that two products share."""
    rng = np.random.default_rng(0)

    def branch(name: str) -> onnx.GraphProto:
        stored = numpy_helper.from_array(rng.standard_normal((8, 8)).astype(np.float32), f"{name}.w")
        made = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, ["n", 8])
        return helper.make_graph(
            [helper.make_node("MatMul", ["h", stored.name], [made.name])], name, [], [made], [stored]
        )

    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["g"]),
        helper.make_node("MatMul", ["g", "shared"], ["h"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
    ]
    shared = rng.standard_normal((8, 8)).astype(np.float32) / 4
    return make_model(nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, {"shared": shared, "zero": np.float32(0)})


def test_weights_in_branches_and_shared_ones(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    source, half = save(branches(make_model)), tmp_path / "half.onnx"
    compress(source, half, options({"output.precision": "fp16"}))
    assert verify(half).holds
    scopes = {entry["name"]: entry.get("scope") for entry in manifest(half)["weights"]}
    place = next(place for place, node in enumerate(onnx.load(half).graph.node) if node.op_type == "If")
    assert place > 4  # a cast has come before it
    assert scopes == {"shared": None, "then.w": [f"{place}.then_branch"], "else.w": [f"{place}.else_branch"]}
    compress(source, tmp_path / "full.onnx", options())
    for sign in (1, -1):
        x = sign * np.abs(np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32))
        ours, theirs = (run_ort(path, {"x": x})[0] for path in (half, tmp_path / "full.onnx"))
        np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())


def test_operators_without_float16_get_casts(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Max", ["a", "b"], ["c"]),
        helper.make_node("CumSum", ["c", "axis"], ["y"]),
    ]
    arrays = {"w": rng.standard_normal((8, 8)).astype(np.float32), "b": np.zeros(8, np.float32), "axis": np.int64(1)}
    source, half = save(make_model(nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, arrays)), tmp_path / "half.onnx"
    convert(source, half, conversion=HALF)
    onnx.checker.check_model(onnx.load(half), full_check=True)
    x = rng.standard_normal((4, 8)).astype(np.float32)
    np.testing.assert_allclose(run_ort(half, {"x": x})[0], run_ort(source, {"x": x})[0], atol=0.05)


def test_float64_weights_stay(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["d", "w"], ["e"]),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    arrays = {"w": np.random.default_rng(0).standard_normal((4, 4)), "s": np.float32([2, 3, 4, 5])}
    source, half = save(make_model(nodes, {"x": [2, 4]}, {"y": [2, 4]}, arrays)), tmp_path / "half.onnx"
    convert(source, half, conversion=HALF)
    assert weights(half)["w"].tobytes() == arrays["w"].tobytes()
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(run_ort(half, {"x": x})[0], run_ort(source, {"x": x})[0], rtol=2e-3)


def test_external_data_stay_external(samples: Path, tmp_path: Path, run_ort: Run) -> None:
    (tmp_path / "in").mkdir()
    source, half = tmp_path / "in" / "model.onnx", tmp_path / "half.onnx"
    onnx.save(onnx.load(samples / "digits_resnet.onnx"), source, save_as_external_data=True, location="w.data")
    compress(source, half, options({"output.precision": "fp16"}))
    assert verify(half).holds
    (data,) = tmp_path.glob("half.onnx.*.data")
    inline = tmp_path / "inline.onnx"
    compress(samples / "digits_resnet.onnx", inline, options({"output.precision": "fp16"}))
    assert half.stat().st_size < inline.stat().st_size / 5 < data.stat().st_size
    batch = np.load(samples / "digits_evaluation.npz")
    inputs = {value.name: batch[value.name][:8] for value in onnx.load(inline).graph.input}
    assert np.array_equal(run_ort(half, inputs)[0], run_ort(inline, inputs)[0])


def test_a_packed_file_holds_the_same_halves(domino: Run, samples: Path, tmp_path: Path) -> None:
    pruned = ("compress", samples / "digits_resnet.onnx", "--scheme", "2:16", "--no-finetune", "--precision", "fp16")
    assert domino(*pruned, "-o", tmp_path / "dense.onnx").code == 0
    assert domino(*pruned, "--format", "packed", "-o", tmp_path / "other.onnx").code == 0
    assert domino("convert", tmp_path / "other.onnx", "--format", "dense", "-o", tmp_path / "back.onnx").code == 0
    assert (tmp_path / "back.onnx").read_bytes() == (tmp_path / "dense.onnx").read_bytes()
    assert (tmp_path / "other.onnx").stat().st_size < (tmp_path / "dense.onnx").stat().st_size


def test_convert_says_what_it_did_and_hides_no_tampering(domino: Run, samples: Path, tmp_path: Path) -> None:
    pruned, broken, half = (tmp_path / f"{name}.onnx" for name in ("pruned", "broken", "half"))
    compress(samples / "digits_resnet.onnx", pruned, options())
    ran = domino("convert", pruned, "--precision", "fp16", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["output"], told["precision"], told["format"]) == (str(tmp_path / "pruned.fp16.onnx"), "fp16", "dense")
    assert told["bytes_after"] < 0.6 * told["bytes_before"]
    assert domino("verify", tmp_path / "pruned.fp16.onnx").code == 0
    model = onnx.load(pruned)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.weight")
    tensor.CopyFrom(numpy_helper.from_array(np.ones(tuple(tensor.dims), np.float32), tensor.name))
    onnx.save(model, broken)
    convert(broken, half, conversion=HALF)
    assert domino("verify", half).code == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--precision", "bf16"), "'bf16' is not one of 'keep', 'fp16'"),
        ((), "--format, --precision or --weights"),
    ],
)
def test_convert_refuses(more: tuple[str, ...], said: str, domino: Run, samples: Path, tmp_path: Path) -> None:
    ran = domino("convert", samples / "digits_resnet.onnx", *more, "-o", tmp_path / "out.onnx")
    assert ran.code in (1, 2)
    assert said in " ".join(ran.err.split())
    assert not list(tmp_path.iterdir())


def test_refusals_come_before_the_work(make_model: Run, save: Run, samples: Path, tmp_path: Path) -> None:
    half, out = tmp_path / "half.onnx", tmp_path / "out.onnx"
    convert(samples / "digits_resnet.onnx", half, conversion=HALF)
    with pytest.raises(ModelError, match="in half precision already"):
        compress(half, out, options({"output.precision": "fp16", "data.calibration": tmp_path / "isn't there.npz"}))
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    old = make_model(
        [node], {"x": [1, 4, 8, 8]}, {"y": [1, 4, 6, 6]}, {"w": np.ones((4, 4, 3, 3), np.float32)}, opset=5
    )
    with pytest.raises(ModelError, match="opset 5"):
        convert(save(old, check=False), out, conversion=HALF)
    assert not out.exists()


def test_what_onnx_runtime_can_t_load_is_not_written(make_model: Run, save: Run, tmp_path: Path) -> None:
    w = np.ones((8, 8), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Own", ["h"], ["y"], domain="own")]
    source = save(make_model(nodes, {"x": [1, 8]}, {"y": [1, 8]}, {"w": w}, domains={"own": 1}), check=False)
    with pytest.raises(ModelError, match="Leave out the conversion"):
        convert(source, tmp_path / "out.onnx", conversion=HALF)
    assert not (tmp_path / "out.onnx").exists()


def test_what_the_converter_leaves_is_found_out_before_any_work(
    make_model: Run, save: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its floats stay float32, and ONNX Runtime refuses the sum. Only trying tells."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("samples were drawn")

    monkeypatch.setattr("domino_onnx.stages.reading.read.drawn_samples", work)
    nodes = [
        helper.make_node("Constant", [], ["v"], value_floats=[1.0] * 64),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "v"], ["y"]),
    ]
    arrays = {"w": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)}
    source = save(make_model(nodes, {"x": [1, 64]}, {"y": [1, 64]}, arrays))
    with pytest.raises(ModelError, match="Leave out the conversion"):
        compress(source, tmp_path / "out.onnx", options({"output.precision": "fp16", "data.calibration": None}))
    assert [path for path in tmp_path.iterdir() if path != source] == []


def test_a_search_tries_no_conversion(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes no model."""

    def tried(*_: object, **__: object) -> None:
        raise AssertionError("the whole model was converted")

    monkeypatch.setattr("domino_onnx.precision.conversion.converted", tried)
    assert search(samples / "digits_resnet.onnx", options({"output.precision": "fp16"})).plan.schemes


@pytest.mark.parametrize(("scale", "said"), [(1e6, "float16 ends at 65504"), (1e-9, "float16 begins at 5.96e-08")])
def test_weights_beyond_float16_are_refused_before_any_work(
    scale: float, said: str, make_model: Callable[..., ModelProto], save: Callable[..., Path], tmp_path: Path
) -> None:
    weight = (np.random.default_rng(0).uniform(1, 2, (16, 16)) * scale).astype(np.float32)
    mask = np.full((1, 16), np.finfo(np.float32).min, np.float32)  # stands for minus infinity, and may be cut off
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Max", ["m", "mask"], ["y"])]
    path = save(make_model(nodes, {"x": (2, 16)}, {"y": None}, {"w": weight, "mask": mask}))
    with pytest.raises(ModelError, match=said):
        convert(path, tmp_path / "half.onnx", conversion=HALF)
    assert not (tmp_path / "half.onnx").exists()
    path = save(make_model(nodes, {"x": (2, 16)}, {"y": None}, {"w": weight / scale, "mask": mask}))
    convert(path, tmp_path / "half.onnx", conversion=HALF)


READERS: dict[str, list[onnx.NodeProto]] = {
    "small": [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "shared": [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("ReduceMax", ["w"], ["most"], keepdims=0),
        helper.make_node("Add", ["m", "most"], ["y"]),
    ],
    "derived": [helper.make_node("Reshape", ["w", "sizes"], ["v"]), helper.make_node("MatMul", ["x", "v"], ["y"])],
    "recurrent": [helper.make_node("RNN", ["x3", "w3", "r3"], ["y"], hidden_size=8)],
}


@pytest.mark.parametrize("case", READERS)
@pytest.mark.parametrize(
    ("worst", "change", "said"),
    [
        (1e5, {"precision": "fp16"}, r"'w3?' holds values up to 1e\+05"),
        (1e5, {"precision": "fp16", "weights": "int8"}, r"'w3?' holds values up to 1e\+05"),
        (np.nan, {"precision": "fp16"}, "'w3?' of '.*' holds NaN or infinity in 1 of 64 values"),
        (np.inf, {"precision": "fp16"}, "'w3?' of '.*' holds NaN or infinity in 1 of 64 values"),
    ],
)
def test_every_weight_is_looked_at_however_it_is_read(
    case: str, worst: float, change: dict[str, Any], said: str, make_model: Run, save: Run, tmp_path: Path
) -> None:
    weight = np.ones((8, 8), np.float32)
    weight[3, 4] = worst
    more = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)  # which int8 can take
    arrays = {
        "w": weight,
        "sizes": np.array([8, 8]),
        "w3": weight[None],
        "r3": np.ones((1, 8, 8), np.float32),
        "more": more,
    }
    nodes = [*READERS[case], helper.make_node("MatMul", ["y", "more"], ["z"])]
    used = {name: arrays[name] for name in arrays if any(name in node.input for node in nodes)}
    x = {"x3": [1, 2, 8]} if case == "recurrent" else {"x": [2, 8]}
    source = save(make_model(nodes, x, {"z": None}, used))
    with pytest.raises(ModelError, match=said):
        convert(source, tmp_path / "out.onnx", conversion=Conversion(**change))
    assert not (tmp_path / "out.onnx").exists()


def test_a_single_number_may_mean_minus_infinity(make_model: Run, save: Run, tmp_path: Path) -> None:
    """Of a mask that is folded into stored scores, as an exporter may leave it."""
    nodes = [
        helper.make_node("Where", ["mask", "scores", "minus"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["share"], axis=1),
        helper.make_node("MatMul", ["share", "x"], ["y"]),
    ]
    arrays = {"scores": np.ones((8, 8), np.float32), "mask": np.tri(8) > 0, "minus": np.float32(-np.inf)}
    source = save(make_model(nodes, {"x": [8, 4]}, {"y": [8, 4]}, arrays))
    convert(source, tmp_path / "half.onnx", conversion=HALF)
    assert np.isneginf(weights(tmp_path / "half.onnx")["minus"])


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"weights": "int8"}])
@pytest.mark.parametrize("lowest", [-1e9, -np.inf])
@pytest.mark.parametrize("spelled", [False, True])
def test_a_mask_before_a_softmax_is_no_broken_weight(
    change: dict[str, Any], lowest: float, spelled: bool, make_model: Run, save: Run, tmp_path: Path, run_ort: Run
) -> None:
    rng = np.random.default_rng(0)
    softmax = [helper.make_node("Softmax", ["masked"], ["share"], axis=1)]
    if spelled:
        softmax = [
            helper.make_node("Exp", ["masked"], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "axes"], ["sum"]),
            helper.make_node("Div", ["powers", "sum"], ["share"]),
        ]
    nodes = [
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        *softmax,
        helper.make_node("Transpose", ["share"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["turned", "x"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "w"], ["y"]),
    ]
    arrays = {
        "scores": rng.standard_normal((32, 32)).astype(np.float32),
        "mask": np.where(np.tri(32) > 0, 0, lowest).astype(np.float32),
        "w": rng.standard_normal((32, 16)).astype(np.float32),
        **({"axes": np.array([1])} if spelled else {}),
    }
    source, out = save(make_model(nodes, {"x": [32, 32]}, {"y": [32, 16]}, arrays)), tmp_path / "out.onnx"
    convert(source, out, conversion=Conversion(**change))
    x = {"x": rng.standard_normal((32, 32)).astype(np.float32)}
    np.testing.assert_allclose(run_ort(out, x)[0], run_ort(source, x)[0], atol=0.4)
    mask = next(skip for skip in inspect(source).inventory.skips if skip.key.name == "mask")
    assert mask.zeros == 0  # Softmax makes numbers of its zeros


def test_a_mask_that_is_multiplied_as_it_is_counts(make_model: Run, save: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("MatMul", ["masked", "x"], ["y"]),
    ]
    arrays = {"scores": np.ones((8, 8), np.float32), "mask": np.where(np.tri(8) > 0, 0, -np.inf).astype(np.float32)}
    source = save(make_model(nodes, {"x": [8, 4]}, {"y": [8, 4]}, arrays))
    with pytest.raises(ModelError, match=r"'mask' of '.*' holds NaN or infinity in 28 of 64 values"):
        convert(source, tmp_path / "half.onnx", conversion=HALF)


def test_a_half_precision_file_that_torch_rounds_otherwise_names_the_way_out(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*_: object) -> None:
        raise ModelError("output 'y' differs")

    model, half, full = samples / "digits_resnet.onnx", tmp_path / "half.onnx", tmp_path / "full.onnx"
    compress(model, half, options({"output.precision": "fp16"}))
    compress(model, full, options())
    monkeypatch.setattr("domino_onnx.stages.finetuning.pruned_file.finetune", differs)
    with pytest.raises(ModelError, match="Finetune the file that it was made from, with --precision fp16"):
        finetune(half, model, tmp_path / "out.onnx", options({"data.calibration": samples / "digits_calibration.npz"}))
    with pytest.raises(ModelError, match=r"differs$"):
        finetune(full, model, tmp_path / "out.onnx", options({"data.calibration": samples / "digits_calibration.npz"}))


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"weights": "int8"}])
def test_constants_that_an_old_file_lists_as_inputs_are_converted(
    change: dict[str, Any], make_model: Run, save: Run, tmp_path: Path, run_ort: Run
) -> None:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model([node], {"x": [2, 32], "w": [32, 32]}, {"y": [2, 32]}, {"w": weight}, opset=13, ir=3)
    source, out = save(model, check=False), tmp_path / "out.onnx"
    result = convert(source, out, conversion=Conversion(**change))
    written = onnx.load(out)
    onnx.checker.check_model(written, full_check=True)
    assert [value.name for value in written.graph.input] == ["x"]
    assert result.bytes_after < 0.7 * result.bytes_before
    assert any("IR version 4" in warning for warning in result.warnings)
    x = np.random.default_rng(1).standard_normal((2, 32)).astype(np.float32)
    np.testing.assert_allclose(run_ort(out, {"x": x})[0], run_ort(source, {"x": x})[0], atol=0.2)


def test_weights_that_a_caller_may_replace_are_no_constants(make_model: Run, save: Run, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model([node], {"x": [2, 8], "w": [8, 8]}, {"y": [2, 8]}, {"w": np.ones((8, 8), np.float32)}, ir=8)
    with pytest.raises(ModelError, match="replace each of its float32 tensors"):
        convert(save(model), tmp_path / "half.onnx", conversion=HALF)


def test_branches_may_use_one_name_for_two_tensors(make_model: Run, save: Run, tmp_path: Path, run_ort: Run) -> None:
    model = branches(make_model)
    for attribute in next(node for node in model.graph.node if node.op_type == "If").attribute:
        attribute.g.initializer[0].name = attribute.g.node[0].input[1] = "same"
    source, half = save(model), tmp_path / "half.onnx"
    convert(source, half, conversion=HALF)
    stored = [
        tensor
        for node in onnx.load(half).graph.node
        for attribute in node.attribute
        if attribute.HasField("g")
        for tensor in attribute.g.initializer
    ]
    assert [(tensor.name, tensor.data_type) for tensor in stored] == [("same", TensorProto.FLOAT16)] * 2
    for sign in (1, -1):
        x = sign * np.abs(np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32))
        ours, theirs = (run_ort(path, {"x": x})[0] for path in (half, source))
        np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())

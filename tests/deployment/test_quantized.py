"""Quantised files are taken as they are: with their own integers, scales and zero points."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from domino_onnx.deployment import find_layers, open_graph
from domino_onnx.deployment.operators import written
from domino_onnx.pipeline import session

from .quantizing import Arrays, deployed_in_bytes, quantized, told
from .test_rewrite import deployed, normal, ops, sparse

Make = Callable[..., ModelProto]
node = helper.make_node


@pytest.fixture
def network(make_model: Make) -> ModelProto:
    """All that joins convolutions: a residual, a concatenation, a pool, means, and a classifier."""
    square: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    return make_model(
        [
            node("Conv", ["x", "stem", "b32"], ["a"], strides=[2, 2], **square),
            node("Relu", ["a"], ["ra"]),
            node("MaxPool", ["ra"], ["m"], kernel_shape=[2, 2]),
            node("Conv", ["m", "deep", "b32"], ["d"], group=32, **square),
            node("Clip", ["d", "low", "six"], ["rd"]),
            node("Conv", ["rd", "wide"], ["w"], **square),
            node("Add", ["w", "m"], ["s"]),
            node("Conv", ["s", "narrow", "b32"], ["n"]),
            node("Concat", ["n", "s"], ["c"], axis=1),
            node("Conv", ["c", "last"], ["e"], dilations=[2, 2]),
            node("GlobalAveragePool", ["e"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "head", "b10"], ["y"]),
        ],
        {"x": ("N", 3, 25, 22)},
        {"y": ("N", 10)},
        {
            "stem": normal(32, 3, 3, 3),
            "deep": normal(32, 1, 3, 3),
            "wide": sparse((32, 32, 3, 3), 1, 1),
            "narrow": sparse((32, 32, 1, 1), 1, 2),
            "last": sparse((48, 64, 3, 3), 1, 3),
            "head": sparse((48, 10), 0, 4),
            "b32": normal(32),
            "b10": normal(10),
            "low": np.array(0, np.float32),
            "six": np.array(6, np.float32),
        },
    )


@pytest.fixture
def images() -> list[Arrays]:
    return [{"x": np.random.default_rng(seed).normal(size=(2, 3, 25, 22)).astype(np.float32)} for seed in range(3)]


def _choices() -> dict[str, dict[str, Any]]:
    q = pytest.importorskip("onnxruntime.quantization", reason="ONNX Runtime can't quantise here")
    signed = {"activation_type": q.QuantType.QInt8}
    return {
        "by channel": {},
        "by tensor": {"per_channel": False},
        "signed": signed,
        "signed, symmetric": {**signed, "extra_options": {"ActivationSymmetric": True}},
        "unsigned weights": {"weight_type": q.QuantType.QUInt8, "extra_options": {"WeightSymmetric": True}},
    }


def _steps(model: ModelProto, name: str) -> float:
    """The step of the grid that an activation behind DequantizeLinear lies on."""
    made = next(each for each in model.graph.node if name in each.output)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return float(stored[made.input[1]])


@pytest.mark.parametrize("choice", ["by channel", "by tensor", "signed", "signed, symmetric", "unsigned weights"])
def test_each_layer_gives_what_the_file_says(
    network: ModelProto, images: list[Arrays], tmp_path: Path, choice: str
) -> None:
    model = quantized(network, images, tmp_path, **_choices()[choice])
    _, layers, _ = deployed_in_bytes(model, images[0])
    assert len(layers) == 6
    for layer in layers:
        changed, _, _ = deployed_in_bytes(model, images[0], layer.name)
        file = layer.file[layer.output]  # type: ignore[index]
        name = next(each.output[0] for each in model.graph.node if file.integers in each.input)
        if all(name not in each.output for each in changed.graph.node):  # the means take the bytes themselves
            name = "g_DequantizeLinear_Output"
        wanted, found = (told(each, images[0], [name])[name] for each in (model, changed))
        steps = np.abs(wanted - found) / _steps(model, name)
        assert steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.01
        assert len(np.unique(wanted)) >= 20


@pytest.mark.parametrize("choice", ["by channel", "signed"])
def test_the_whole_network_stays_in_bytes(
    network: ModelProto, images: list[Arrays], tmp_path: Path, choice: str
) -> None:
    """One border in front of the first layer; what is between layers is computed with the channels last."""
    model = quantized(network, images, tmp_path, **_choices()[choice])
    changed, _, kept = deployed_in_bytes(model, images[0])
    assert not kept
    seen = Counter(ops(changed))
    assert seen["NmConvInt8"] == 6
    assert (seen["NmToBytes"], seen["NmToFloats"], seen["Transpose"]) == (1, 0, 0)
    assert (seen["NmPoolInt8"], seen["NmGlobalAveragePoolInt8"], seen["MaxPool"]) == (1, 1, 0)
    assert (seen["Add"], seen["Concat"]) == (1, 1)
    for inputs in images:
        wanted, found = told(model, inputs)["y"], session(changed.SerializeToString()).run(None, inputs)[0]  # type: ignore[arg-type]
        assert np.abs(wanted - found).max() < 4.01 * _steps(model, "y")


@pytest.mark.parametrize("choice", ["by channel", "signed"])
def test_matrices_of_any_rank(make_model: Make, tmp_path: Path, choice: str) -> None:
    model = make_model(
        [
            node("MatMul", ["x", "w1"], ["a"]),
            node("Add", ["a", "b"], ["c"]),
            node("Relu", ["c"], ["r"]),
            node("MatMul", ["r", "w2"], ["d"]),
            node("Add", ["d", "x"], ["y"]),
        ],
        {"x": ("N", "T", 64)},
        {"y": ("N", "T", 64)},
        {"w1": sparse((64, 96), 0, 1), "b": normal(96), "w2": sparse((96, 64), 0, 2)},
    )
    inputs = {"x": normal(2, 5, 64)}
    made = quantized(model, [inputs], tmp_path, **_choices()[choice])
    changed, layers, _ = deployed_in_bytes(made, inputs)
    assert len(layers) == ops(changed).count("NmConvInt8") == 2
    wanted, found = told(made, inputs)["y"], told(changed, inputs)["y"]
    assert np.abs(wanted - found).max() < 1.01 * _steps(made, "y")


@pytest.mark.parametrize("choice", ["by channel", "signed"])
@pytest.mark.parametrize("first", ["MatMul", "Conv"])
def test_an_activation_is_a_matrix_and_an_image(make_model: Make, tmp_path: Path, choice: str, first: str) -> None:
    """A product along the last axis of what a convolution reads or gives: its bytes are wanted in both orders."""
    layers = {"MatMul": ("matrix", sparse((32, 32), 0, 1)), "Conv": ("kernel", sparse((32, 32, 1), 1, 2))}
    second = "Conv" if first == "MatMul" else "MatMul"
    model = make_model(
        [node(first, ["x", layers[first][0]], ["a"]), node(second, ["a", layers[second][0]], ["y"])],
        {"x": ("N", 32, 32)},
        {"y": None},
        dict(layers.values()),
    )
    inputs = {"x": normal(2, 32, 32)}
    made = quantized(model, [inputs], tmp_path, **_choices()[choice])
    changed, taken, _ = deployed_in_bytes(made, inputs)
    assert len(taken) == 2
    wanted, found = told(made, inputs)["y"], told(changed, inputs)["y"]
    assert np.abs(wanted - found).max() < 2.01 * _steps(made, "y")


def test_integers_alone_are_taken_over(make_model: Make) -> None:
    """Weights in int8 and activations in floats: nothing is rounded again, whatever is done with them."""
    integers = (sparse((64, 40), 0) * 60).clip(-128, 127).astype(np.int8)
    scales = np.linspace(0.01, 0.05, 40).astype(np.float32)
    model = make_model(
        [node("DequantizeLinear", ["w", "s"], ["f"], axis=1), node("MatMul", ["x", "f"], ["y"])],
        {"x": ("N", 64)},
        {"y": ("N", 40)},
        {"w": integers, "s": scales},
    )
    x = {"x": normal(7, 64)}
    changed, layers, _ = deployed(model, {})
    assert ops(changed) == ["NmMatMul"]
    wanted = x["x"] @ (integers * scales)
    assert np.abs(session(changed.SerializeToString()).run(None, x)[0] - wanted).max() < 1e-5  # type: ignore[arg-type]
    assert [layer.file for layer in layers] == [None]
    assert np.array_equal(written(layers[0], "int8", {}).inputs[3], scales)
    in_bytes, _, _ = deployed(model, {}, "int8")
    assert 0 < np.abs(told(in_bytes, x)["y"] - wanted).max() < 0.02 * np.abs(wanted).max()


def test_stored_floats_behind_both_nodes(make_model: Make) -> None:
    """Other tools keep the weight in floats, and round it in the graph."""
    weight, scales = sparse((32, 32, 3, 3), 1), np.linspace(0.01, 0.03, 32).astype(np.float32)
    model = make_model(
        [
            node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "step", "zero"], ["xf"]),
            node("QuantizeLinear", ["w", "scales", "zeros"], ["wq"], axis=0),
            node("DequantizeLinear", ["wq", "scales", "zeros"], ["wf"], axis=0),
            node("Conv", ["xf", "wf", "b"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("QuantizeLinear", ["r", "out", "zero"], ["rq"]),
            node("DequantizeLinear", ["rq", "out", "zero"], ["y"]),
        ],
        {"x": ("N", 32, 6, 5)},
        {"y": ("N", 32, 6, 5)},
        {
            "w": weight,
            "b": normal(32),
            "scales": scales,
            "zeros": np.zeros(32, np.int8),
            "step": np.array(0.03, np.float32),
            "out": np.array(0.05, np.float32),
            "zero": np.array(0, np.int8),
        },
    )
    x = {"x": normal(2, 32, 6, 5)}
    changed, _, _ = deployed_in_bytes(model, x)
    assert [op for op in ops(changed) if op.startswith("Nm")] == ["NmToBytes", "NmConvInt8", "NmToFloats"]
    assert "w" not in {tensor.name for tensor in changed.graph.initializer}
    wanted, found = told(model, x)["y"], told(changed, x)["y"]
    assert np.abs(wanted - found).max() < 1.01 * 0.05
    assert (wanted != found).mean() < 0.01


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        (
            {"zero": np.array(3, np.uint8), "w": np.resize(np.array([3, 255], np.uint8), (16, 32))},
            "isn't int8 around 0",
        ),
        ({"zero": np.array(128, np.uint8), "w": np.full((16, 32), 128, np.uint8)}, None),
        ({"ws": np.linspace(0.1, 0.2, 16).astype(np.float32)}, "a scale for each output"),
        ({"ys": np.array(0, np.float32)}, ""),
        ({"ws": np.array(np.inf, np.float32)}, "no stored weight"),
        ({"floats": np.zeros((16, 32), np.float32)}, ""),
    ],
)
def test_what_is_no_quantised_layer(make_model: Make, changes: dict[str, np.ndarray], reason: str | None) -> None:
    kind = changes.get("zero", np.array(0, np.int8))
    model = make_model(
        [
            node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            node("DequantizeLinear", ["q", "xs", "xz"], ["xf"]),
            node("DequantizeLinear", ["w", "ws", "zero"], ["wf"], axis=0),
            node("MatMul", ["xf", "floats" if "floats" in changes else "wf"], ["m"]),
            node("QuantizeLinear", ["m", "ys", "yz"], ["yq"]),
            node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
        ],
        {"x": (5, 16)},
        {"y": (5, 32)},
        {
            "floats": changes.get("floats", np.zeros(1, np.float32)),
            "xs": np.array(0.1, np.float32),
            "xz": np.array(10, np.uint8),
            "ys": changes.get("ys", np.array(0.3, np.float32)),
            "yz": np.array(100, np.uint8),
            "ws": changes.get("ws", np.array(0.02, np.float32)),
            "zero": kind if "ws" not in changes or not changes["ws"].ndim else np.zeros(16, np.int8),
            "w": changes.get("w", np.zeros((16, 32), np.int8)),
        },
    )
    layers, kept = find_layers(open_graph(model), {"xf": (5, 16), "m": (5, 32)})
    reasons = [each.reason for each in kept]
    if reason:
        assert len(reasons) == 1
        assert reason in reasons[0]
    else:
        assert not reasons
        assert [layer.file is not None for layer in layers] == [reason is None]


def test_what_others_read_is_still_there(make_model: Make, tmp_path: Path) -> None:
    """Bytes and floats of a deployed layer are read by a dense one, a subgraph, and the graph's outputs."""
    branch = helper.make_graph(
        [node("Neg", ["a"], ["then_y"])], "then", [], [helper.make_tensor_value_info("then_y", 1, None)]
    )
    other = helper.make_graph(
        [node("Abs", ["a"], ["else_y"])], "else", [], [helper.make_tensor_value_info("else_y", 1, None)]
    )
    base = make_model(
        [node("Conv", ["x", "w"], ["a"]), node("Conv", ["a", "v"], ["b"])],
        {"x": ("N", 32, 6, 5)},
        {"b": None, "a": None},
        {"w": sparse((32, 32, 1, 1), 1), "v": normal(16, 32, 1, 1)},
    )
    inputs = {"x": normal(2, 32, 6, 5)}
    model = quantized(base, [inputs], tmp_path)
    model.graph.node.extend(
        [
            node("ReduceMax", ["x"], ["top"], keepdims=0),
            node("Greater", ["top", "limit"], ["above"]),
            node("If", ["above"], ["chosen"], then_branch=branch, else_branch=other),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "limit"))
    model.graph.output.append(onnx.ValueInfoProto(name="chosen"))
    first = next(each for each in model.graph.node if each.op_type == "Conv")
    changed, layers, _ = deployed_in_bytes(model, inputs, only=first.name or first.output[0])
    assert len(layers) == 1
    wanted, found = told(model, inputs), told(changed, inputs)
    for name in ("a", "b", "chosen"):
        step = _steps(model, "a" if name == "chosen" else name)
        assert np.abs(wanted[name] - found[name]).max() < 2.01 * step


def test_quantised_compressed_and_deployed(
    domino: Callable[..., Any],
    network: ModelProto,
    images: list[Arrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Integers are pruned on their grid, and run on it."""
    dense, pruned, out = (tmp_path / f"{name}.onnx" for name in ("dense", "pruned", "out"))
    onnx.save(quantized(network, images, tmp_path / "made"), dense)
    flags = ("--sparsity", "0.6", "--data", "none", "--no-finetune", "--threads", "1")
    assert domino("compress", dense, "-o", pruned, *flags).code == 0
    ran = domino("deploy", pruned, "-o", out, "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert all(set(layer["seconds"]) == {"dense", "quantized"} for layer in said["layers"])
    taken = [layer for layer in said["layers"] if layer["chosen"] == "quantized"]
    assert ops(onnx.load(out)).count("NmConvInt8") == len(taken)
    assert ("own integers" in said["int8"]) == bool(taken)
    wanted, found = (told(onnx.load(path), images[0])["y"] for path in (pruned, out))
    assert np.abs(wanted - found).max() < 4.01 * _steps(onnx.load(pruned), "y")


def test_outputs_are_compared_with_what_the_file_says(
    domino: Callable[..., Any], make_model: Make, tmp_path: Path
) -> None:
    """Its sums overflow where ONNX Runtime optimises it for a processor without VNNI: that is no error of ours."""
    model = make_model(
        [
            node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "one", "zero"], ["f"]),
            node("DequantizeLinear", ["w", "one"], ["wf"]),
            node("MatMul", ["f", "wf"], ["m"]),
            node("QuantizeLinear", ["m", "wide", "zero"], ["r"]),
            node("DequantizeLinear", ["r", "wide", "zero"], ["y"]),
        ],
        {"x": (1, 64)},
        {"y": (1, 32)},
        {
            "w": np.where(np.arange(64)[:, None] % 4 < 2, np.arange(96, 128), 0).astype(np.int8),
            "one": np.array(1, np.float32),
            "wide": np.array(5000, np.float32),
            "zero": np.array(0, np.uint8),
        },
    )
    path, out, data = tmp_path / "model.onnx", tmp_path / "out.onnx", tmp_path / "data.npz"
    x = {"x": np.full((1, 64), 250, np.float32)}
    path.write_bytes(model.SerializeToString())
    np.savez(data, **x)
    ran = domino("deploy", path, "-o", out, "--data", data, "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    wanted = told(model, x)["y"]
    assert (wanted == np.rint(32 * 250 * np.arange(96, 128) / 5000) * 5000).all()
    for key, file in (("largest_error", out), ("largest_error_of_model", path)):
        found = session(file).run(None, x)[0]
        assert json.loads(ran.out)[key] == pytest.approx(float(np.abs(wanted - found).max() / wanted.max()))

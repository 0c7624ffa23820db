"""`doctor` on our files, on others', and with a builder's log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

Run = Callable[..., Any]
MODEL = "digits_resnet.onnx"
STACKED = """
<ir_version: 8, opset_import: ["" : 17]>
stacked (float[4, 8, 32] x) => (float[4, 8, 64] y) <float[4, 32, 64] w> {
    y = MatMul (x, w)
}
"""


def states(document: dict[str, Any]) -> dict[str, str]:
    return {weight["weight"]: weight["state"] for weight in document["weights"]}


def test_a_dense_file_a_legal_one_and_a_generic_one(domino: Run, samples: Path, tmp_path: Path) -> None:
    legal, generic = tmp_path / "legal.onnx", tmp_path / "generic.onnx"
    for path, more in ((legal, ["--target", "tensorrt"]), (generic, [])):
        assert domino("compress", samples / MODEL, "--scheme", "8:16", *more, "-o", path).code == 0
    dense = domino("doctor", samples / MODEL, "--json", "--strict")
    assert dense.code == 3
    assert set(states(json.loads(dense.out)).values()) == {"dense", "not eligible"}
    good = domino("doctor", legal, "--json", "--strict")
    doubts = domino("doctor", legal).out
    assert re.search(r"^all \d+ that are legal may run dense all the same: float32 is what", doubts, re.MULTILINE), (
        doubts
    )
    assert doubts.count("legal, but") == 0, doubts
    assert good.code == 0
    assert set(states(json.loads(good.out)).values()) == {"legal", "not eligible"}
    assert domino("doctor", generic).code == 0
    bad = domino("doctor", generic, "--json", "--strict")
    assert bad.code == 3
    assert set(states(json.loads(bad.out)).values()) == {"broken", "not eligible"}
    told = domino("doctor", generic)
    assert "8:16" in told.out
    assert "first broken four" in told.out
    assert "kernel position" in told.out


def test_a_matmul_constant_pruned_on_its_batch_axis(domino: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(STACKED)
    weight = np.random.default_rng(0).standard_normal((4, 32, 64)).astype(np.float32)
    order = np.argsort(-np.abs(weight), axis=0)
    np.put_along_axis(weight, order[2:], 0, axis=0)
    model.graph.ClearField("initializer")
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    path = tmp_path / "stacked.onnx"
    onnx.save(model, path)
    ran = domino("doctor", path, "--json")
    found = json.loads(ran.out)["weights"][0]
    assert (found["state"], found["axis"], found["channels_in"], found["channels_out"]) == ("broken", 1, 32, 64)
    assert "axis 0" in found["reason"]
    index = found["first_broken"]
    assert (weight[index[0], index[1] : index[1] + 4, index[2]] != 0).sum() > 2


def test_a_log_says_what_was_picked(domino: Run, samples: Path, tmp_path: Path) -> None:
    path, log = tmp_path / "legal.onnx", tmp_path / "build.log"
    assert domino("compress", samples / MODEL, "--scheme", "2:4", "--target", "tensorrt", "-o", path).code == 0
    first, second, *_ = (
        node.name for node in onnx.load(path).graph.node if node.op_type == "Conv" and "stem" not in node.name
    )
    log.write_text(
        f"[I] [TRT] (Sparsity) Layers eligible for sparse math: {first} + /Relu, {second}\n"
        f"[I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for layers: {second}\n"
    )
    document = json.loads(domino("doctor", path, "--log", log, "--json").out)
    engine = {weight["name"]: weight["builder"] for weight in document["weights"]}
    assert (engine[first], engine[second]) == ("eligible", "picked")
    assert set(engine.values()) == {"eligible", "picked", "not eligible"}
    assert "picked 1" in domino("doctor", path, "--log", log).out
    log.write_text("nothing here")
    assert "--sparsity=enable" in domino("doctor", path, "--log", log).out
    missing = domino("doctor", path, "--log", tmp_path / "none.log")
    assert missing.code == 1
    assert "none.log" in missing.err


NAMELESS = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
nameless (float[8, 32] x) => (float[8, 32] y) <float[32, 32] v, float[32, 32] w> {
    a = MatMul (x, v)
    b = MatMul (a, w)
    y = local.inner (b)
}
<opset_import: ["" : 17], domain: "local">
inner (i) => (o) {
    c = Constant <value: tensor = float[1] {1}> ()
    o = MatMul (i, c)
}
"""


def test_a_log_calls_nodes_without_a_name_by_their_output(domino: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(NAMELESS)
    model.graph.ClearField("initializer")
    weights = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    weights[:, np.arange(32) % 4 < 2] = 0
    model.graph.initializer.extend(map(numpy_helper.from_array, weights[:2], "vw"))
    model.functions[0].node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(weights[2], "c"))
    path, log = tmp_path / "nameless.onnx", tmp_path / "build.log"
    onnx.save(model, path)
    log.write_text(
        "[I] [TRT] (Sparsity) Layers eligible for sparse math: node_of_a, node_of_b\n"
        "[I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for layers: node_of_a\n"
    )
    document = json.loads(domino("doctor", path, "--log", log, "--json").out)
    assert {weight["weight"]: weight["builder"] for weight in document["weights"]} == {
        "v": "picked",
        "w": "eligible",
        "c": None,
    }
    rows = [line for line in domino("doctor", path, "--log", log).out.splitlines() if "32x32" in line]
    assert [row.split()[-1] for row in rows] == ["picked", "eligible", "?"]


def test_quantisation_is_told_of_where_there_is_some(domino: Run, tmp_path: Path, make_model: Any) -> None:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    masked = [
        onnx.helper.make_node("Where", ["m", "w", "far"], ["v"]),
        onnx.helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    arrays = {"m": weight > 0, "w": weight, "far": np.float32(-1)}
    inputs, outputs = {"x": (1, 32)}, {"y": None}
    onnx.save(make_model(masked, inputs, outputs, arrays), tmp_path / "masked.onnx")
    cast = [onnx.helper.make_node("Cast", ["q"], ["v"], to=1), onnx.helper.make_node("MatMul", ["x", "v"], ["y"])]
    onnx.save(make_model(cast, inputs, outputs, {"q": weight.astype(np.int8)}), tmp_path / "cast.onnx")
    assert "quantised" not in domino("doctor", tmp_path / "masked.onnx").out
    assert "quantised in other ways" in domino("doctor", tmp_path / "cast.onnx").out

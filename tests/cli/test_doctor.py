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

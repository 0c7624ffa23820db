"""Weights that data don't reach: said at once and in words, and nothing is claimed to be refitted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

Run = Callable[..., Any]
WITHOUT_GRADIENTS = {"search.gradients": False}

BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
branches (float[n, 16] x) => (float[n, 16] y) <bool c = {1}> {
    y = If (c) <then_branch = yes () => (float[n, 16] t) { t = MatMul (x, a) },
                else_branch = no () => (float[n, 16] e) { e = MatMul (x, b) }>
}
"""
LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
loop (float[n, 16] x) => (float[n, 16] y) <int64 k = {2}, bool c = {1}> {
    y = Loop (k, c, x) <body = step (int64 i, bool go, float[n, 16] s) => (bool on, float[n, 16] t) {
        on = Identity (go)
        t = MatMul (s, a)
    }>
}
"""
FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
calls (float[n, 16] x) => (float[n, 16] y) { y = own.linear (x, a) }
<domain: "own", opset_import: ["" : 17]>
linear (x, w) => (y) { y = MatMul (x, w) }
"""
FOREIGN = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
foreign (float[n, 16] x) => (float[n, 16] y) {
    h = MatMul (x, a)
    y = own.Odd (h)
}
"""
ANSWER = """
<ir_version: 8, opset_import: ["" : 17]>
answer (float[n, 16] x) => (int64[n] y) {
    h = MatMul (x, a)
    y = ArgMax <axis = 1, keepdims = 0> (h)
}
"""


def weight(name: str) -> TensorProto:
    generator = np.random.default_rng(ord(name))
    return numpy_helper.from_array(generator.standard_normal((16, 16)).astype(np.float32), name)


EMBEDDING = """
<ir_version: 8, opset_import: ["" : 17]>
embedding (int64[n, 4] ids) => (float[n, 4, 16] y) {
    h = Gather (table, ids)
    y = MatMul (h, a)
}
"""


def branches() -> ModelProto:
    model = onnx.parser.parse_model(BRANCHES)
    for attribute, name in zip(model.graph.node[0].attribute, "ab", strict=True):
        attribute.g.initializer.append(weight(name))
    return model


def loop() -> ModelProto:
    model = onnx.parser.parse_model(LOOP)
    model.graph.node[0].attribute[0].g.initializer.append(weight("a"))
    return model


def with_weight(text: str) -> ModelProto:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(weight("a"))
    return model


UNREACHED = {"branches": branches, "loop": loop, "function": lambda: with_weight(FUNCTION)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32))
    return path


def said(ran: Any) -> str:
    return " ".join(ran.err.split())


def check_unfitted(document: dict[str, Any]) -> None:
    """Nothing in the report says that a weight was refitted."""
    assert (document["solver"], document["divergence"]) == ("magnitude", None)
    assert document["prediction"] is None
    assert document["strategy"] == "domino"
    assert [site["error"] for site in document["sites"]] == [None] * len(document["sites"])
    assert document["sparsity"] >= 0.5


def check_page(report: Path, solver: str) -> None:
    """The page says how the weights were found, and neither a divergence nor what it would come to."""
    page = report.read_text(encoding="utf-8")
    assert f"weights by {solver}" in page
    assert "divergence" not in page
    assert "Expected of the plan" not in page
    rows = re.findall(r'<tr><td class="name">(?:(?!</tr>).)*?data-value.*?</tr>', page)
    assert rows
    assert ("output energy lost</th>" in page) == (solver == "refit")
    assert {row.count("%</td>") + row.count('%<span class="bar">') for row in rows} == {2 if solver == "refit" else 1}


@pytest.mark.parametrize("name", UNREACHED)
def test_weights_in_bodies_and_functions(name: str, domino: Run, save: Run, data: Path, tmp_path: Path) -> None:
    model, output = save(UNREACHED[name]()), tmp_path / "out.onnx"
    words = ("compress", model, "--sparsity", "0.5", "--data", data, "--no-finetune", "-o", output)
    ran = domino(*words, "--json", recipe=WITHOUT_GRADIENTS)
    assert ran.code == 0, ran.err
    check_unfitted(json.loads(ran.out))
    assert "losses can't be measured, so the schemes follow from the weights alone" in said(ran)
    assert "weights are not refitted" in said(ran)
    assert "read inside a subgraph or a local function" in said(ran)
    assert json.loads(ran.out)["parity"]["inputs"] == "data"
    assert json.loads(ran.out)["parity"]["fitted"] is False
    assert domino("verify", output).code == 0
    report = tmp_path / "report.html"
    shown = domino(*words, "--force", "--report", report, recipe=WITHOUT_GRADIENTS).out
    assert "refitted" not in shown
    assert "divergence" not in shown
    assert "relative error" in shown
    check_page(report, "magnitude")


def test_it_is_said_before_the_search(domino: Run, save: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domino_onnx.stages import planning

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "search_domino", stop)
    ran = domino("compress", save(branches()), "--sparsity", "0.5", "--data", data, recipe=WITHOUT_GRADIENTS)
    assert ran.code == 130
    assert "schemes follow from the weights alone, and no weight can be refitted" in said(ran)


def test_a_network_that_onnx_runtime_cannot_run(domino: Run, save: Run, data: Path, tmp_path: Path) -> None:
    model, output = save(with_weight(FOREIGN), check=False), tmp_path / "out.onnx"
    words = ("compress", model, "--sparsity", "0.5", "--data", data, "--finetune-steps", "4", "-o", output)
    ran = domino(*words, "--json")
    assert ran.code == 0, ran.err
    check_unfitted(json.loads(ran.out))
    assert json.loads(ran.out)["parity"] is None
    assert json.loads(ran.out)["finetuning"] is None
    for phrase in ("follow from the weights alone", "weights are not refitted", "was not compared with the dense one"):
        assert phrase in said(ran)
    reasons = json.loads(ran.out)["warnings"]
    assert sum(f"can't load {model}" in each for each in reasons) == 1
    assert sum(each.endswith(", for the reason given above") for each in reasons) > 1
    assert domino("verify", output).code == 0
    report = tmp_path / "report.html"
    shown = domino(*words, "--force", "--report", report).out
    assert "refitted" not in shown
    assert "divergence" not in shown
    check_page(report, "magnitude")


def test_outputs_that_cannot_be_compared(domino: Run, save: Run, data: Path, tmp_path: Path) -> None:
    """The weights are refitted. How far the answers, which are integers, are from the dense ones is not made up."""
    model, output, report = save(with_weight(ANSWER)), tmp_path / "out.onnx", tmp_path / "report.html"
    words = ("compress", model, "--sparsity", "0.5", "--data", data, "--no-finetune", "-o", output)
    ran = domino(*words, "--json", recipe={"search.strategy": "uniform"})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["solver"], document["divergence"], document["prediction"]) == ("refit", None, None)
    assert [site["error"] > 0 for site in document["sites"]] == [True]
    shown = domino(*words, "--force", "--report", report, recipe={"search.strategy": "uniform"})
    assert shown.code == 0, shown.err
    assert "divergence" not in shown.out
    check_page(report, "refit")


def test_nothing_is_loaded_where_nothing_is_converted(
    domino: Run, save: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.precision import conversion

    monkeypatch.setattr(conversion, "loaded", lambda *_: pytest.fail("it loaded the model"))
    words = ("--scheme", "2:4", "--no-finetune", "-o", tmp_path / "out.onnx")
    assert domino("compress", save(with_weight(FUNCTION)), *words).code == 0


def test_values_that_stop_the_model_are_refused(domino: Run, save: Run, tmp_path: Path) -> None:
    """Ids beyond the embedding's table: nothing is pruned by magnitude behind the user's back."""
    proto = with_weight(EMBEDDING)
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(8, 16, dtype=np.float32), "table"))
    model, output = save(proto), tmp_path / "out.onnx"
    ids = np.random.default_rng(0).integers(0, 8, (64, 4))
    for name, array in (("good", ids), ("bad", ids + 5)):
        np.savez(tmp_path / f"{name}.npz", ids=array)
    words = ("compress", model, "--sparsity", "0.5", "--no-finetune", "-o", output)
    refused = domino(*words, "--data", tmp_path / "bad.npz")
    assert refused.code == 1
    assert "ONNX Runtime can't run" in said(refused)
    assert "the values or sizes in --data may not suit it" in said(refused)
    assert not output.exists()
    assert domino(*words, "--data", tmp_path / "good.npz").code == 0

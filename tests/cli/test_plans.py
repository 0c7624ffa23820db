"""Plans between `search` and the commands that take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from domino_onnx.scheme import Plan

Run = Callable[..., Any]


def test_a_plan_can_be_edited_and_applied(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    document = json.loads(plan.read_text())
    document["sites"] = [{"weight": "a", "scheme": "3:8"}]
    plan.write_text(json.dumps(document))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer
    }
    assert (np.count_nonzero(stored["a"].reshape(2, 8, 32), axis=1) == 3).all()
    assert stored["b"].all()
    assert domino("verify", tmp_path / "out.onnx").code == 0


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"sites": [{"weight": "nothing", "scheme": "2:4"}]}, "nothing"),
        ({"sites": [{"weight": "k", "scheme": "2:4"}]}, "not a site"),
        ({"sites": [{"weight": "a", "scheme": "2:5"}]}, "divisible"),
        ({"source_sha256": "0" * 64}, "SHA-256"),
        ({"extra": 1}, "unknown key"),
    ],
)
def test_plans_that_do_not_fit_are_refused(
    edit: dict[str, Any], says: str, domino: Run, model: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    plan.write_text(json.dumps({**json.loads(plan.read_text()), **edit}))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert says in ran.err
    assert not (tmp_path / "out.onnx").exists()
    ran = domino("compress", model, "--plan", plan, "-o", tmp_path / "out.onnx")
    assert (ran.code, says in ran.err) == (1, True)


def test_a_plan_for_any_model_has_no_hash(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "source_sha256": ""}))
    changed = onnx.load(model)
    changed.doc_string = "another file"
    other = model.with_name("other.onnx")
    other.write_bytes(changed.SerializeToString())
    assert domino("apply", other, plan, "-o", tmp_path / "out.onnx").code == 0


def test_a_budget_that_can_not_be_checked_is_left_out(
    domino: Run, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """MACs of a convolution over images of any size are unknown; its plan can be applied."""
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    model = save(make_model([node], {"x": ["n", 16, "h", "w"]}, {"y": ["n", 16, "h", "w"]}, {"w": weight}))
    plan, out = tmp_path / "plan.json", tmp_path / "out.onnx"
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 0
    document = json.loads(plan.read_text())
    document["budgets"] = [{"measure": "flops", "reduction": 0.4}, *document["budgets"]]
    plan.write_text(json.dumps(document))
    ran = domino("apply", model, plan, "-o", out, "--json")
    assert ran.code == 0, ran.err
    (warning,) = [line for line in json.loads(ran.out)["warnings"] if "can't be checked" in line]
    assert "flops by 0.4" in warning
    assert "MACs" in warning
    stored = onnx.numpy_helper.to_array(onnx.load(out).graph.initializer[0])
    assert np.mean(stored == 0) >= 0.5


def test_what_is_missed_by_little_is_not_said_to_be_reached(
    domino: Run, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """Two of three weights are zeros, which is less than 0.6667."""
    weight = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = save(make_model([node], {"x": ["n", 9]}, {"y": ["n", 4]}, {"w": weight}))
    plan = tmp_path / "plan.json"
    assert domino("search", model, "--pool", "1:3", "--sparsity", "0.5", "-o", plan).code == 0
    document = json.loads(plan.read_text())
    document["budgets"] = [{"measure": "params", "reduction": 0.6667}]
    plan.write_text(json.dumps(document))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx", "--json")
    assert ran.code == 0, ran.err
    assert "the plan reduces params by 0.6666, but names 0.6667" in json.loads(ran.out)["warnings"]


def test_a_manifest_with_a_garbage_budget_does_not_crash_finetune(
    domino: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    sparse = tmp_path / "sparse.onnx"
    domino("compress", model, "--sparsity", "0.5", "-o", sparse, "--no-finetune")
    for budget in ({"x": 1}, 1, {"measure": "size", "reduction": 0.5}, {"measure": "params", "reduction": "a lot"}):
        changed = onnx.load(sparse)
        for entry in changed.metadata_props:
            if entry.key == "domino_onnx.manifest":
                entry.value = json.dumps({**json.loads(entry.value), "budgets": [budget]})
        sparse.write_bytes(changed.SerializeToString())
        words = ["--teacher", model, "--data", data, "--finetune-steps", "1", "--force"]
        ran = domino("finetune", sparse, *words, "-o", tmp_path / "out.onnx")
        assert "bug" not in ran.err, budget


def test_the_plan_of_search_is_the_one_compress_uses(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.6", "-o", plan)
    ran = domino("compress", model, "--sparsity", "0.6", "-o", tmp_path / "out.onnx", "--json")
    chosen = {site["weight"]: f"{site['n']}:{site['m']}" for site in json.loads(ran.out)["sites"]}
    assert {str(key): str(scheme) for key, scheme in Plan.load(plan).schemes.items()} == chosen

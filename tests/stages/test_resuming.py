"""A run that goes on from its checkpoint, and a run that a report repeats, tell and write the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import helper

Run = Callable[..., Any]
node = helper.make_node


@pytest.fixture
def model(make_model: Callable[..., Any], save: Callable[..., Path]) -> Path:
    """Two MatMuls over (batch, 16)."""
    generator = np.random.default_rng(0)
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    shapes = {"a": (16, 32), "b": (32, 16)}
    arrays = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return save(make_model(nodes, {"x": ["batch", 16]}, {"y": None}, arrays))


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    """Samples to learn from, and two files to judge by."""
    generator = np.random.default_rng(1)
    paths = [tmp_path / f"{name}.npz" for name in ("data", "first", "second")]
    for path in paths:
        np.savez(path, x=generator.standard_normal((200, 16)).astype(np.float32))
    return paths


def test_the_trials_are_told_again(domino: Run, model: Path, data: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["compress", model, "--max-drop", "0.1", "--data", data[0], "--eval-data", data[1], "--no-finetune"]
    words += ["--checkpoint", tmp_path / "checkpoint", "-o", output, "--json"]
    first = domino(*words)
    assert first.code == 0, first.err
    whole, written = json.loads(first.out), output.read_bytes()
    assert len(whole["trials"]) > 1
    again = domino(*words, "--resume", "--force")
    assert again.code == 0, again.err
    resumed = json.loads(again.out)
    assert resumed["trials"] == whole["trials"]
    told = ("sites", "divergence", "prediction", "sparsity", "solver", "warnings", "parity")
    assert {key: resumed[key] for key in told} == {key: whole[key] for key in told}
    assert output.read_bytes() == written


def test_other_judges_are_refused_where_they_decide(domino: Run, model: Path, data: list[Path], tmp_path: Path) -> None:
    words = ["compress", model, "--max-drop", "0.1", "--data", data[0], "--no-finetune"]
    words += ["--checkpoint", tmp_path / "checkpoint", "-o", tmp_path / "out.onnx"]
    assert domino(*words, "--eval-data", data[1]).code == 0
    for other in (["--eval-data", data[2]], []):
        ran = domino(*words, *other, "--resume", "--force", "--json")
        assert ran.code == 1
        error = json.loads(ran.out)["error"]
        assert error["type"] == "CheckpointError"
        assert "evaluation data" in error["message"]
    assert domino(*words, "--eval-data", data[1], "--resume", "--force").code == 0


def test_other_judges_are_welcome_where_they_only_judge(
    domino: Run, model: Path, data: list[Path], tmp_path: Path
) -> None:
    words = ["compress", model, "--sparsity", "0.6", "--data", data[0], "--no-finetune"]
    words += ["--checkpoint", tmp_path / "checkpoint", "-o", tmp_path / "out.onnx", "--json"]
    assert domino(*words, "--eval-data", data[1]).code == 0
    ran = domino(*words, "--eval-data", data[2], "--resume", "--force")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["trials"] == []


@pytest.mark.parametrize("steps", [("--finetune-steps", "4"), ("--finetune-time", "1s")], ids=lambda words: words[0])
def test_a_report_repeats_its_run(
    steps: tuple[str, str], domino: Run, model: Path, data: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    report, outputs = tmp_path / "report.json", [tmp_path / "first.onnx", tmp_path / "again.onnx"]
    words = ["--sparsity", "0.7", "--data", data[0], *steps, "--threads", "1", "--seed", "3"]
    words += ["--pool", "1:4,2:4", "--weights", "int8"]
    ran = domino("compress", model, *words, "-o", outputs[0], "--report", report, recipe={"finetune.lr": 1e-3})
    assert ran.code == 0, ran.err
    ran = domino("compress", model, "--recipe", report, "-o", outputs[1], "--json")
    assert ran.code == 0, ran.err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert json.loads(ran.out)["recipe"] == json.loads(report.read_text())["recipe"]


def test_apply_is_judged_by_other_data(domino: Run, model: Path, data: list[Path], tmp_path: Path) -> None:
    plan, output = tmp_path / "plan.json", tmp_path / "out.onnx"
    assert domino("search", model, "--scheme", "2:4", "-o", plan).code == 0
    ran = domino("apply", model, plan, "--data", data[0], "--eval-data", data[1], "-o", output, "--json")
    assert ran.code == 0, ran.err
    parity = json.loads(ran.out)["parity"]
    assert (parity["inputs"], parity["samples"], parity["fitted"]) == ("data", 200, False)
    asked = json.loads(domino("evaluate", model, output, "--data", data[1], "--json").out)
    assert parity["relative_error"] == pytest.approx(asked["relative_error"], rel=0.2), "by the spread of other data"
    alone = json.loads(domino("apply", model, plan, "--data", data[0], "-o", output, "--force", "--json").out)
    assert alone["parity"]["fitted"] is False, "some of the data were set apart"


def test_masks_that_move_stay_legal_when_a_run_goes_on(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The found plan as it is kept says 4:16. That at most two of each four stay follows from the target alone."""
    pytest.importorskip("torch")
    from domino_onnx.stages import finetuning

    recipe = {"finetune.method": "sr-ste", "finetune.lr": 4.0, "run.batch_size": 16, "solver.method": "magnitude"}
    words = ("--sparsity", "0.75", "--target", "tensorrt", "--pool", "4:16", "--finetune-steps", "30")
    words = ("compress", model, *words, "--data", data[0], "--threads", "1")
    whole, output, before = (tmp_path / f"{name}.onnx" for name in ("whole", "out", "before"))
    folder = tmp_path / "checkpoint"
    ran = domino(*words, "-o", whole, "--json", recipe=recipe)
    assert ran.code == 0, ran.err
    assert {(site["n"], site["m"]) for site in json.loads(ran.out)["sites"]} == {(4, 16)}
    assert json.loads(ran.out)["finetuning"]["best_step"] > 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetuning, "_train", stop)
        assert domino(*words, "-o", output, "--checkpoint", folder, recipe=recipe).code == 130
    assert [path.name for path in folder.iterdir()] == ["found.npz"]
    assert not output.exists()
    ran = domino(*words, "-o", output, "--checkpoint", folder, "--resume", recipe=recipe)
    assert ran.code == 0, ran.err
    assert domino("verify", output).code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert domino(*words, "--no-finetune", "-o", before, recipe=recipe).code == 0
    now, then = (
        {tensor.name: onnx.numpy_helper.to_array(tensor).T for tensor in onnx.load(path).graph.initializer}
        for path in (output, before)
    )
    for name, rows in now.items():
        assert np.any((rows != 0) & (then[name] == 0))
        assert max(np.count_nonzero(four) for four in rows.reshape(-1, 4)) == 2

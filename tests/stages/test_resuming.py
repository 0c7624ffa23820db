"""A run that goes on from its checkpoint, and a run that a report repeats, tell and write the same."""

from __future__ import annotations

import errno
import json
import shlex
import sys
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


OF_THE_ATTEMPT = ("seconds", "peak_rss_bytes_by_stage", "peak_rss_bytes", "forecast")
AT_ONCE = {"run.checkpoint_after": 0}


def told(text: str) -> dict[str, Any]:
    """A report without what each attempt has of its own."""
    return {key: value for key, value in json.loads(text).items() if key not in OF_THE_ATTEMPT}


@pytest.mark.parametrize(
    "where",
    [
        "stages.trials.sparsest.most_zeros",
        "stages.trials.trying.measured",
        "pipeline.pruning.write",
        "pipeline.run.compared",
    ],
)
def test_the_trials_are_told_again(
    where: str, domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    """Interrupted before the search, in the first trial, before the file is written, and after."""
    output, kept = tmp_path / "out.onnx", tmp_path / "out.onnx.partial"
    words = ["compress", model, "--max-drop", "0.1", "--data", data[0], "--eval-data", data[1], "--no-finetune"]
    words += ["-o", output, "--json"]
    first = domino(*words, recipe=AT_ONCE)
    assert (first.code, kept.exists()) == (0, False), first.err
    written = output.read_bytes()
    assert len(told(first.out)["trials"]) > 1
    output.unlink()
    with interrupt(where):
        stopped = domino(*words, recipe=AT_ONCE)
    assert stopped.code == 130
    assert kept.exists() == (where != "stages.trials.sparsest.most_zeros")
    again = domino(*words, "--resume", recipe=AT_ONCE)
    assert (again.code, kept.exists()) == (0, False), again.err
    assert told(again.out) == told(first.out)
    assert output.read_bytes() == written


def test_a_sweep_goes_on_with_the_shares_that_are_left(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages.trials import goals as trials

    kept, tried = tmp_path / "model.sweep.partial", []
    words = ["sweep", model, "--data", data[0], "--sparsity", "0.5", "--sparsity", "0.7", "--sparsity", "0.8", "--json"]
    whole = domino(*words, recipe=AT_ONCE)
    assert (whole.code, kept.exists()) == (0, False), whole.err
    real = trials.tried

    def stops_at_the_second(lab: Any, budget: Any) -> Any:
        tried.append(budget.reduction)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return real(lab, budget)

    monkeypatch.setattr(trials, "tried", stops_at_the_second)
    assert domino(*words, recipe=AT_ONCE).code == 130
    again = domino(*words, "--resume", recipe=AT_ONCE)
    assert again.code == 0, again.err
    assert tried == [0.5, 0.7, 0.7, 0.8]
    assert told(again.out) == told(whole.out)


def test_other_judges_are_refused_where_they_decide(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    words = ["compress", model, "--max-drop", "0.1", "--data", data[0], "--no-finetune"]
    words += ["-o", tmp_path / "out.onnx"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words, "--eval-data", data[1], recipe=AT_ONCE).code == 130
    for other in (["--eval-data", data[2]], []):
        ran = domino(*words, *other, "--resume", "--json", recipe=AT_ONCE)
        assert ran.code == 1
        error = json.loads(ran.out)["error"]
        assert error["type"] == "CheckpointError"
        assert "evaluation data" in error["message"]
        assert "notes" not in error, "the same command can't go on"
    assert domino(*words, "--eval-data", data[1], "--resume", recipe=AT_ONCE).code == 0


def test_other_judges_are_welcome_where_they_only_judge(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    words = ["compress", model, "--sparsity", "0.6", "--data", data[0], "--no-finetune"]
    words += ["-o", tmp_path / "out.onnx", "--json"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words, "--eval-data", data[1], recipe=AT_ONCE).code == 130
    ran = domino(*words, "--eval-data", data[2], "--resume", recipe=AT_ONCE)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["trials"] == []


def test_a_recipe_with_a_folder_is_repeated(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    """A report of a run that went on repeats it, and doesn't ask to go on."""
    report, folder = tmp_path / "report.json", tmp_path / "kept"
    words = ["compress", model, "--sparsity", "0.6", "--data", data[0], "--no-finetune", "--checkpoint", folder]
    words += ["-o", tmp_path / "out.onnx"]
    with interrupt("pipeline.pruning.write"):
        assert domino(*words).code == 130
    assert domino(*words, "--resume", "--report", report).code == 0
    for name in ("second.onnx", "third.onnx"):
        ran = domino("compress", model, "--recipe", report, "-o", tmp_path / name)
        assert (ran.code, folder.exists()) == (0, False)
        assert not {"kept", "resume"}.intersection(ran.err.split())
        assert (tmp_path / name).read_bytes() == (tmp_path / "out.onnx").read_bytes()


def test_the_message_names_the_command_that_goes_on(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    output = tmp_path / "it's out.onnx"
    words = ["compress", model, "--sparsity", "0.6", "--data", data[0], "--no-finetune", "-o", output]
    with interrupt("pipeline.pruning.write"):
        short = domino(*words)
        ran = domino(*words, recipe=AT_ONCE)
    assert (short.code, "resume" in short.err) == (130, False), "nothing worth keeping was done"
    command = next(line for line in ran.err.splitlines() if line.endswith("--resume"))
    told = shlex.split(command)
    assert told[1:] == [*sys.argv[1:], "--resume"]
    assert told[1 : 1 + len(words)] == list(map(str, words))
    assert domino(*told[1:]).code == 0
    output.unlink()
    with interrupt("pipeline.run.compared"):
        ran = domino(*words, recipe=AT_ONCE)
    assert output.exists()
    command = next(line for line in ran.err.splitlines() if line.endswith("--resume"))
    assert domino(*shlex.split(command)[1:]).code == 0, "the file that is written already is the run's own"


def test_a_disk_that_refuses_is_told_once(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages.checkpoints import checkpoint

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_piece", full)
    words = ["compress", model, "--max-drop", "0.1", "--data", data[0], "--no-finetune", "-o", tmp_path / "out.onnx"]
    ran = domino(*words, "--json", recipe=AT_ONCE)
    assert ran.code == 0
    assert ran.err.count("No space left on device") == 1
    assert not any("No space" in warning for warning in json.loads(ran.out)["warnings"])
    assert not (tmp_path / "out.onnx.partial").exists()


def test_memory_that_ran_out_is_no_bug(
    domino: Run, model: Path, data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.pipeline import pruning

    def too_large(*_: object) -> None:
        np.empty(1 << 50)

    monkeypatch.setattr(pruning, "write", too_large)
    words = ["compress", model, "--sparsity", "0.6", "--data", data[0], "--no-finetune", "-o", tmp_path / "out.onnx"]
    ran = domino(*words, recipe=AT_ONCE)
    assert (ran.code, "bug" in ran.err) == (1, False)
    assert "error: memory ran out: Unable to allocate" in ran.err
    assert "smaller batches" in ran.err
    assert "--resume" in ran.err


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
    domino: Run, model: Path, data: list[Path], tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    """The found plan as it is kept says 4:16. That at most two of each four stay follows from the target alone."""
    pytest.importorskip("torch")
    recipe = {"finetune.method": "sr-ste", "finetune.lr": 4.0, "run.batch_size": 16, "solver.method": "magnitude"}
    words = ("--sparsity", "0.75", "--target", "tensorrt", "--pool", "4:16", "--finetune-steps", "30")
    words = ("compress", model, *words, "--data", data[0], "--threads", "1")
    whole, output, before = (tmp_path / f"{name}.onnx" for name in ("whole", "out", "before"))
    folder = tmp_path / "checkpoint"
    ran = domino(*words, "-o", whole, "--json", recipe=recipe)
    assert ran.code == 0, ran.err
    assert {(site["n"], site["m"]) for site in json.loads(ran.out)["sites"]} == {(4, 16)}
    assert json.loads(ran.out)["finetuning"]["best_step"] > 0

    with interrupt("stages.finetuning.finetune._train"):
        assert domino(*words, "-o", output, "--checkpoint", folder, recipe=recipe).code == 130
    assert sorted(path.name for path in folder.iterdir()) == ["found.npz", "losses.npz"]
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

"""Where outputs go, and which files they may replace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domino_onnx.stages import name_for_cpu

Run = Callable[..., Any]


def test_outputs_that_exist_are_kept_without_force(domino: Run, model: Path, tmp_path: Path) -> None:
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    output.write_text("precious")
    plan.write_text("precious")
    assert domino("compress", model, "--sparsity", "0.5", "-o", output).code == 1
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 1
    assert (output.read_text(), plan.read_text()) == ("precious", "precious")
    assert domino("compress", model, "--sparsity", "0.5", "-o", output, "--force").code == 0
    assert domino("search", model, "--sparsity", "0.5", "-o", plan, "--force").code == 0


def test_no_input_is_ever_replaced(domino: Run, samples: Path, tmp_path: Path) -> None:
    model, data, plan = tmp_path / "model.onnx", tmp_path / "data.npz", tmp_path / "plan.json"
    shutil.copy(samples / "digits_resnet.onnx", model)
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(data, image=arrays["image"][:16])
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 0
    (tmp_path / "alias.json").symlink_to(data)
    before = {path: path.read_bytes() for path in (model, data, plan)}
    sparse = ("--sparsity", "0.5", "--force", "--no-finetune")
    for words in (
        ("search", model, "--sparsity", "0.5", "--force", "-o", model),
        ("search", model, "--sparsity", "0.5", "--force", "--data", data, "-o", data),
        ("compress", model, *sparse, "--data", data, "-o", data),
        ("compress", model, *sparse, "--eval-data", data, "-o", data),
        ("compress", model, *sparse, "--data", data, "--report", tmp_path / "alias.json"),
        ("compress", model, "--plan", plan, "--force", "--no-finetune", "-o", plan),
        ("apply", model, plan, "--force", "-o", plan),
        ("apply", model, plan, "--force", "-o", tmp_path / "out.onnx", "--report", plan),
    ):
        ran = domino(*words)
        assert ran.code == 1, words
        assert "is the input itself" in ran.err
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "out.onnx").exists()


def test_only_regular_files_are_replaced(domino: Run, model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    ran = domino("compress", model, "--sparsity", "0.5", "-o", pipe, "--force")
    assert ran.code == 1
    assert "no regular file" in ran.err
    assert pipe.is_fifo()


def test_a_search_that_cannot_write_its_plan_does_not_begin(
    domino: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domino_onnx.pipeline.search", lambda *_: pytest.fail("it searched"))
    ran = domino("search", model, "--sparsity", "0.5", "-o", tmp_path / "nowhere" / "plan.json")
    assert ran.code == 1
    assert "doesn't exist; make it first" in ran.err


def test_default_output_stands_beside_the_model(domino: Run, model: Path) -> None:
    assert domino("compress", model, "--sparsity", "0.5").code == 0
    assert model.with_name("model.sparse.onnx").is_file()


def test_outputs_of_a_model_without_a_suffix_are_onnx_files(
    domino: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    bare = model.rename(model.with_name("bare"))
    assert domino("compress", bare, "--sparsity", "0.5", "--data", data, "--no-finetune").code == 0
    pruned = (tmp_path / "bare.sparse.onnx").rename(tmp_path / "pruned")
    assert domino("finetune", pruned, "--teacher", bare, "--data", data, "--finetune-steps", "1").code == 0
    assert domino("convert", pruned, "--format", "packed").code == 0
    assert {path.name for path in tmp_path.glob("pruned.*")} == {"pruned.finetuned.onnx", "pruned.packed.onnx"}
    assert name_for_cpu(pruned).name == "pruned.cpu.onnx"


@pytest.mark.parametrize("folder", [".", "/", ""])
@pytest.mark.parametrize(
    "words",
    [
        "inspect", "verify", "doctor", "benchmark", "sweep --data none", "search --sparsity 0.5", "finetune", "deploy",
        "compress --sparsity 0.5", "convert --format packed", "evaluate other.onnx --data data.npz",
    ],
)  # fmt: skip
def test_a_folder_is_no_model(
    words: str, folder: str, domino: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    command, *more = words.split()
    ran = domino(command, folder, *more)
    assert ran.code == 1
    assert "bug" not in ran.err
    assert "is a folder" in ran.err or "can't be written" in ran.err


def test_reports_are_written_as_their_suffix_says(domino: Run, model: Path, tmp_path: Path) -> None:
    for suffix, start in (("html", "<!doctype html>"), ("json", "{")):
        report = tmp_path / f"report.{suffix}"
        ran = domino("compress", model, "--sparsity", "0.5", "-o", tmp_path / "out.onnx", "--force", "--report", report)
        assert ran.code == 0
        assert report.read_text().lower().startswith(start)
        assert str(report) in ran.out.replace("\n", "") or report.name in ran.out


def test_a_model_and_a_report_in_the_folder_of_the_samples_are_replaced_by_force(
    domino: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of such a folder samples alone are read."""
    monkeypatch.chdir(tmp_path)
    words = ("compress", model.name, "--sparsity", "0.5", "--data", ".", "--no-finetune", "--report", "report.html")
    Path("model.sparse.onnx").write_text("old")
    Path("report.html").write_text("old")
    ran = domino(*words, "-o", "model.sparse.onnx")
    assert (ran.code, "model.sparse.onnx exists; give another name, or --force" in ran.err) == (1, True), ran.err
    ran = domino(*words, "-o", "model.sparse.onnx", "--force")
    assert ran.code == 0, ran.err
    assert b"old" not in (Path("model.sparse.onnx").read_bytes(), Path("report.html").read_bytes())
    before = data.read_bytes()
    ran = domino(*words, "-o", data.name, "--force")
    assert (ran.code, "data.npz lies in the folder that is read, ." in ran.err) == (1, True), ran.err
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("compress model.onnx", 2, "nothing says how sparse the model becomes"),
        ("compress model.onnx --sparsity 0.5 --data model.onnx", 1, "model.onnx is a model, and holds no samples"),
        ("compress model.onnx --sparsity 0.5 --eval-data model.onnx", 1, "model.onnx is a model, and holds no samples"),
        ("compress model.onnx --plan model.onnx", 1, "model.onnx is no plan"),
        ("apply model.onnx model.onnx", 1, "model.onnx is no plan"),
        ("search model.onnx --sparsity 0.5 --data model.onnx", 1, "model.onnx is a model, and holds no samples"),
        ("sweep model.onnx --report plan.json --data model.onnx", 1, "model.onnx is a model, and holds no samples"),
        ("finetune model.onnx --data model.onnx", 1, "model.onnx is a model, and holds no samples"),
    ],
)
def test_other_mistakes_are_told_before_the_output_that_exists(
    words: str, code: int, says: str, domino: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.sparse.onnx", "model.finetuned.onnx", "plan.json"):
        Path(name).write_text("precious")
    ran = domino(*words.split())
    said = " ".join(ran.err.split())
    assert (ran.code, says in said, "exists" in said) == (code, True, False), ran.err

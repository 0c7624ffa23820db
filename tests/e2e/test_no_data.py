"""Without data: samples are drawn, weights are fitted to them, and real samples show what that is worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.synthesis.photographs import has_photographs

Run = Callable[..., Any]
FEW = {"search.strategy": "uniform"}


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """128 drawn samples instead of 1,024, and few to guess from: enough for these networks, and faster."""
    from domino_onnx.stages.reading import drawing
    from domino_onnx.synthesis import opening

    monkeypatch.setattr(drawing, "_MOST", 128)
    monkeypatch.setattr(opening, "_GUESSED_FROM", 32)


def agreement(run_ort: Callable[..., Any], left: Path, right: Path, samples: Path) -> float:
    """Of two files on the real evaluation images."""
    with np.load(samples / "digits_evaluation.npz") as arrays:
        answers = [run_ort(onnx.load(path), {"image": arrays["image"]})[0].argmax(1) for path in (left, right)]
    return float(np.mean(answers[0] == answers[1]))


def test_it_works_twice_alike_and_never_calls_what_it_measures_accuracy(
    domino: Run, samples: Path, run_ort: Callable[..., Any], tmp_path: Path
) -> None:
    model = samples / "digits_transformer.onnx"
    drawn, again, none = (tmp_path / f"{name}.onnx" for name in ("drawn", "again", "none"))
    words = ["compress", model, "--sparsity", "0.75", "--no-finetune", "--threads", "1"]
    ran = domino(*words, "-o", drawn, "--json", draws=True, recipe=FEW)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["solver"] == "refit"
    assert document["parity"]["inputs"] == "drawn"
    assert document["prediction"] is None
    (line,) = document["drawn"]
    told = " ".join(ran.err.split())
    crops = has_photographs()
    assert line.startswith("image: grey crops of photographs of 8 x 8" if crops else "image: grey images of 8 x 8")
    assert "no --data: 128 samples are drawn" in told
    assert ("domino-onnx[photographs]" in told) is not crops
    shown = domino(*words, "-o", again, draws=True, recipe=FEW).out
    assert "drawn samples show no accuracy" in " ".join(shown.split())
    assert again.read_bytes() == drawn.read_bytes()

    assert domino(*words, "--data", "none", "-o", none, "--json", recipe=FEW).code == 0
    kept, lost = (agreement(run_ort, model, path, samples) for path in (drawn, none))
    assert kept > 0.9
    assert kept > lost + 0.1


def test_real_samples_judge_where_they_are_given(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    model, evaluation = small_digits, samples / "digits_evaluation.npz"
    words = ["--sparsity", "0.5", "--eval-data", evaluation, "--no-finetune", "--threads", "1", "--json"]
    ran = domino("compress", model, *words, "-o", tmp_path / "out.onnx", draws=True, recipe=FEW)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["parity"]["inputs"], document["parity"]["fitted"]) == ("data", False)
    assert document["prediction"]["metric"] == "top-1"


def test_sweep_says_that_drawn_samples_judge(domino: Run, samples: Path, small_digits: Path) -> None:
    words = ["--sparsity", "0.5", "--threads", "1"]
    ran = domino("sweep", small_digits, *words, recipe=FEW)
    assert ran.code == 0, ran.err
    assert "drawn samples, which is no accuracy" in " ".join(ran.out.split())


def test_inspect_draws_nothing(domino: Run, small_digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domino_onnx.stages.reading import read as reading

    monkeypatch.delattr(reading, "drawn_samples")
    assert domino("inspect", small_digits).code == 0


@pytest.mark.parametrize("shape", [None, []], ids=["an unknown number of axes", "no axes"])
def test_where_nothing_can_be_drawn_masks_go_by_magnitude(domino: Run, tmp_path: Path, shape: list[int] | None) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "row"], ["rows"]), helper.make_node("MatMul", ["rows", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight, numpy_helper.from_array(np.array([1, 16]), "row")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    words = ["--scheme", "2:4", "-o", tmp_path / "out.onnx", "--json"]
    ran = domino("compress", tmp_path / "model.onnx", *words, draws=True)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["solver"] == "magnitude"
    assert "no samples can be drawn" in " ".join(ran.err.split())


def test_a_shape_for_an_unknown_input_is_refused_before_samples_are_drawn(domino: Run, small_digits: Path) -> None:
    ran = domino("search", small_digits, "--sparsity", "0.5", "--input-shape", "q:1,2", draws=True)
    assert ran.code == 1
    assert "error: --input-shape names 'q'" in " ".join(ran.err.split())


def test_a_few_real_samples_are_filled_up_and_judge_alone(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages.reading import drawing

    monkeypatch.setattr(drawing, "_ENOUGH", 128)
    monkeypatch.setattr(drawing, "_FILLED", 64)
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(tmp_path / "few.npz", image=arrays["image"][:24])
    words = ["compress", small_digits, "--sparsity", "0.75", "--data", tmp_path / "few.npz"]
    words += ["--no-finetune", "--threads", "1", "--json"]
    ran = domino(*words, "-o", tmp_path / "filled.onnx", recipe=FEW)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["parity"]["inputs"], document["parity"]["samples"]) == ("data", 24)
    assert any("24 real samples" in warning and "64 drawn images" in warning for warning in document["warnings"])

    alone = domino(*words, "-o", tmp_path / "alone.onnx", recipe={**FEW, "data.drawn": 0})
    assert alone.code == 0, alone.err
    assert not any("drawn" in warning for warning in json.loads(alone.out)["warnings"])
    assert (tmp_path / "alone.onnx").read_bytes() != (tmp_path / "filled.onnx").read_bytes()


def test_commands_that_never_finetune_say_nothing_of_it(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    plan, few = tmp_path / "plan.json", tmp_path / "few.npz"
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(few, image=arrays["image"][:24])
    half, given = ("--sparsity", "0.5"), ("--data", few, "--threads", "1")
    for words in (
        ("search", small_digits, *half, "-o", plan),
        ("apply", small_digits, plan, "-o", tmp_path / "out.onnx"),
        ("sweep", small_digits, *half),
    ):
        ran = domino(*words, *given, recipe={**FEW, "data.drawn": 8})
        said = " ".join(ran.err.split())
        assert (ran.code, "the search and the refit learn from 8 drawn images" in said) == (0, True), ran.err
        assert "finetuning" not in said


@pytest.mark.parametrize("labelled", [False, True])
def test_finetuning_fills_up_unlabelled_samples_with_a_stream(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path, labelled: bool
) -> None:
    pytest.importorskip("torch")
    with np.load(samples / "digits_calibration.npz") as arrays:
        labels = {"labels": np.arange(24) % 10} if labelled else {}
        np.savez(tmp_path / "few.npz", image=arrays["image"][:24], **labels)  # type: ignore[arg-type]
    words = ["compress", small_digits, "--sparsity", "0.75", "--data", tmp_path / "few.npz", "--finetune-steps", "20"]
    ran = domino(*words, "--threads", "1", "--json", "-o", tmp_path / "out.onnx", recipe={**FEW, "data.drawn": 64})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    streamed = any("and finetuning learns from new drawn images" in warning for warning in document["warnings"])
    assert streamed is not labelled
    assert document["finetuning"]["steps"] == 20
    assert document["parity"]["inputs"] == "data"


@pytest.mark.parametrize("labelled", [False, True])
def test_finetuning_alone_fills_up_the_same_way(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path, labelled: bool
) -> None:
    pytest.importorskip("torch")
    sparse = tmp_path / "sparse.onnx"
    assert domino("compress", small_digits, "--sparsity", "0.75", "--no-finetune", "-o", sparse).code == 0
    with np.load(samples / "digits_calibration.npz") as arrays:
        labels = {"labels": np.arange(24) % 10} if labelled else {}
        np.savez(tmp_path / "few.npz", image=arrays["image"][:24], **labels)  # type: ignore[arg-type]
    words = ["finetune", sparse, "--teacher", small_digits, "--data", tmp_path / "few.npz", "--finetune-steps", "20"]
    words += ["--threads", "1", "--json"]
    losses = {}
    for drawn in (0, 64):
        ran = domino(*words, "-o", tmp_path / f"{drawn}.onnx", recipe={**FEW, "data.drawn": drawn})
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        told = [warning for warning in document["warnings"] if "drawn images" in warning]
        assert len(told) == (drawn > 0 and not labelled)
        assert all(warning.startswith("24 real samples: finetuning learns from new drawn images") for warning in told)
        losses[drawn] = [step["loss"] for step in document["finetuning"]["history"]]
    assert (losses[0] == losses[64]) is labelled

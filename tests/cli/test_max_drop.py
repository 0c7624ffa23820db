"""As many zeros as an accuracy allows, and what a model is worth with ever more of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import domino_onnx

Run = Callable[..., Any]
MAGNITUDE = {"solver.method": "magnitude"}
BY_MAGNITUDE = {"search.strategy": "uniform", **MAGNITUDE}

TINY = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[n, 16] x) => (float[n, 16] y) { y = MatMul (x, a) }
"""


@pytest.fixture(scope="module")
def labelled(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with labels, for judging."""
    path = tmp_path_factory.mktemp("data") / "eval.npz"
    with np.load(samples / "digits_evaluation.npz") as arrays:
        np.savez(path, image=arrays["image"][:400], labels=arrays["labels"][:400])
    return path


def top1(model: Path, data: Path) -> float:
    """By ONNX Runtime alone."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(data) as arrays:
        (scores,) = session.run(None, {session.get_inputs()[0].name: arrays["image"]})
        return float((scores.argmax(axis=1) == arrays["labels"]).mean())


def test_the_file_loses_no_more_than_allowed(
    domino: Run, samples: Path, small_digits: Path, labelled: Path, tmp_path: Path
) -> None:
    """With many schemes of each weight, so that there are plans close to each budget."""
    output, pool = tmp_path / "out.onnx", ",".join(f"{n}:16" for n in range(1, 16))
    words = ["--max-drop", "0.02", "--data", samples / "digits_calibration.npz", "--eval-data", labelled, "-o", output]
    ran = domino("compress", small_digits, *words, "--pool", pool, "--no-finetune", "--json", recipe=MAGNITUDE)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert top1(small_digits, labelled) - top1(output, labelled) <= 0.02 + 1e-9
    trials = document["trials"]
    within = [trial["planned_sparsity"] for trial in trials if trial["drop"] <= 0.02 + 1e-9]
    beyond = [trial["budget"]["reduction"] for trial in trials if trial["drop"] > 0.02 + 1e-9]
    assert document["planned_sparsity"] == max(within)
    assert document["sparsity"] == pytest.approx(max(within), abs=1e-6)
    assert min(beyond) - max(within) <= 0.02
    assert len(trials) <= 8
    assert {trial["metric"] for trial in trials} == {"top-1"}


def test_without_other_data_some_are_set_apart(domino: Run, samples: Path, small_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["--max-drop", "0.05", "--data", samples / "digits_calibration.npz", "-o", output, "--json"]
    ran = domino("compress", small_digits, *words, "--finetune-steps", "4", recipe=MAGNITUDE)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    with np.load(samples / "digits_calibration.npz") as arrays:
        quarter = round(len(arrays["image"]) / 4)
    assert document["parity"]["samples"] == quarter
    assert 1 - document["parity"]["agreement"] <= 0.05 + 1e-9
    assert {trial["metric"] for trial in document["trials"]} == {"agreement"}


def test_what_no_plan_can_keep_is_an_error(domino: Run, samples: Path, small_digits: Path, tmp_path: Path) -> None:
    """Magnitude masks of 1:16 alone change some answer, however few of them there are."""
    words = ["--max-drop", "0", "--pool", "1:16"]
    data = ["--data", samples / "digits_calibration.npz", "-o", tmp_path / "out.onnx"]
    ran = domino("compress", small_digits, *words, *data, recipe=BY_MAGNITUDE)
    assert ran.code == 1
    assert "--max-drop" in ran.err
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("other", [["--sparsity", "0.5"], ["--scheme", "2:4"], ["--flops-reduction", "0.5"]])
def test_a_budget_beside_it_is_a_contradiction(other: list[str], domino: Run, small_digits: Path) -> None:
    ran = domino("compress", small_digits, "--max-drop", "0.1", *other)
    assert ran.code == 2
    assert "contradict" in ran.err


def test_it_needs_data(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    ran = domino("compress", small_digits, "--max-drop", "0.1", "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert "--data" in ran.err


def test_a_model_of_hardly_any_weight_that_can_be_pruned(
    domino: Run, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    nodes = [onnx.helper.make_node("MatMul", [a, w], [b]) for a, w, b in (("x", "v", "h"), ("h", "w", "y"))]
    shapes = {"v": (16, 7), "w": (7, 9000)}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = save(make_model(nodes, {"x": ("N", 16)}, {"y": ("N", 9000)}, arrays))
    np.savez(tmp_path / "data.npz", x=generator.normal(size=(64, 16)).astype(np.float32))
    ran = domino("compress", model, "--max-drop", "0.1", "--data", tmp_path / "data.npz", "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert "0.2 % of the weights can become zeros, which is less than the search tells apart" in ran.err


def test_a_sweep_tells_what_zeros_cost(
    domino: Run, samples: Path, small_digits: Path, labelled: Path, tmp_path: Path
) -> None:
    model, plans = small_digits, tmp_path / "plans"
    words = ["--sparsity", "0.5", "--sparsity", "0.9", "--sparsity", "0.99"]
    words += ["--data", samples / "digits_calibration.npz", "--eval-data", labelled]
    ran = domino("sweep", model, *words, "--plans", plans, "--report", tmp_path / "front.html", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    gentle, harsh = document["trials"]
    assert 0.5 <= gentle["planned_sparsity"] < harsh["planned_sparsity"]
    assert gentle["bytes_gzipped"] > harsh["bytes_gzipped"]
    assert "0.99" in " ".join(document["warnings"])
    assert "<svg" in (tmp_path / "front.html").read_text()
    output = tmp_path / "out.onnx"
    data = words[words.index("--data") :]
    assert domino("apply", model, plans / "0.9.json", *data, "-o", output).code == 0
    assert top1(model, labelled) - top1(output, labelled) == pytest.approx(harsh["drop"], abs=1e-9)
    again = domino("sweep", model, *words, "--plans", plans)
    assert again.code == 1
    assert "--force" in again.err


def test_a_sweep_of_legal_masks(domino: Run, samples: Path, small_digits: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    words = ["--sparsity", "0.5", "--data", samples / "digits_calibration.npz", "--target", "tensorrt"]
    ran = domino("sweep", small_digits, *words, "--plans", plans, "--json")
    assert ran.code == 0, ran.err
    assert json.loads((plans / "0.5.json").read_text())["target"] == "tensorrt"
    (trial,) = json.loads(ran.out)["trials"]
    schemes = {site["weight"]: site["scheme"] for site in trial["sites"]}
    assert schemes.pop("head"), "of ten outputs, which TensorRT doesn't run sparse anyway"
    assert "8:16" not in schemes.values()


def test_a_sweep_does_not_look_at_a_recipes_goal(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(tmp_path / "data.npz", image=arrays["image"][:64])
    words = ("--sparsity", "0.3", "--sparsity", "0.8", "--data", tmp_path / "data.npz", "--json")
    recipe = {"goal.scheme": "2:4", "solver.method": "magnitude"}
    ran = domino("sweep", small_digits, *words, recipe=recipe)
    assert ran.code == 0, ran.err
    gentle, harsh = (trial["planned_sparsity"] for trial in json.loads(ran.out)["trials"])
    assert 0.3 <= gentle < 0.45
    assert harsh >= 0.8


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path]:
    """One MatMul over (n, 16), and data for it."""
    model, generator = onnx.parser.parse_model(TINY), np.random.default_rng(0)
    weight = generator.standard_normal((16, 16)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "a"))
    onnx.save(model, tmp_path / "tiny.onnx")
    np.savez(tmp_path / "tiny.npz", x=generator.standard_normal((64, 16)).astype(np.float32))
    return tmp_path / "tiny.onnx", tmp_path / "tiny.npz"


@pytest.mark.parametrize("goal", [{"goal.max_drop": 0.1}, {"goal.sparsity": 0.9}, {"goal.scheme": "1:16"}])
def test_a_plan_and_a_pruned_file_do_not_look_at_a_recipes_goal(
    goal: dict[str, Any], domino: Run, tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    model, data = tiny
    plan, pruned, report = (tmp_path / name for name in ("plan.json", "pruned.onnx", "report.html"))
    assert domino("search", model, "--scheme", "2:4", "-o", plan).code == 0
    shared = ("--data", data, "--report", report, "--force")
    finetuning = ("--teacher", model, "--finetune-steps", "2", "-o", tmp_path / "finetuned.onnx")
    for words in (("apply", model, plan, "-o", pruned), ("finetune", pruned, *finetuning)):
        recipe = {**goal, "finetune.lr": 1e-4}
        shown, told = (domino(*words, *shared, *more, recipe=recipe) for more in ((), ("--json",)))
        assert (shown.code, told.code) == (0, 0), shown.err + told.err
        document = json.loads(told.out)
        assert (document["max_drop"], document["trials"], document["budgets"]) == (None, [], [])
        assert not any(document["recipe"]["goal"].values())
        assert [(site["n"], site["m"]) for site in document["sites"]] == [(2, 4)]
        assert document["sparsity"] == 0.5
        assert "may be lost" not in shown.out
        assert "that cost at most" not in report.read_text()


def test_nothing_to_prune_is_said(domino: Run, tiny: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = tiny
    output = tmp_path / "out.onnx"
    ran = domino("compress", model, "--max-drop", "0.1", "--data", data, "--exclude", "*", "-o", output)
    assert ran.code == 1
    assert "the options leave no weight to prune" in " ".join(ran.err.split())
    assert not output.exists()


def test_judges_that_cannot_tell_are_doubted(domino: Run, samples: Path, small_digits: Path, tmp_path: Path) -> None:
    with np.load(samples / "digits_evaluation.npz") as arrays:
        ones = arrays["labels"] == 1
        np.savez(tmp_path / "ones.npz", image=arrays["image"][ones][:30], labels=arrays["labels"][ones][:30])
    words = ["--data", samples / "digits_calibration.npz", "--eval-data", tmp_path / "ones.npz", "--no-finetune"]
    words += ["-o", tmp_path / "out.onnx"]
    ran = domino("compress", small_digits, "--max-drop", "0.03", *words, recipe=BY_MAGNITUDE)
    said = " ".join(ran.err.split())
    assert "all 30 samples that judge have the label 1" in said
    assert "each 3.3 % of all" in said


@pytest.mark.parametrize("goal", ["max_drop = 0.01", 'plan = "plan.json"'])
def test_a_search_says_whom_the_goal_of_a_recipe_is_for(goal: str, domino: Run, model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[goal]\n{goal}\n")
    ran = domino("search", model, "--recipe", recipe, "-o", tmp_path / "plan.json")
    assert ran.code == 2
    assert f"goal.{goal.split(maxsplit=1)[0]} is for `domino-onnx compress`" in ran.err
    assert "nothing says" not in ran.err


def test_a_search_in_python_says_what_max_drop_is_for(model: Path) -> None:
    with pytest.raises(domino_onnx.errors.PlanError, match="max_drop is for compress: give sparsity"):
        domino_onnx.search(model, max_drop=0.01, data="none")

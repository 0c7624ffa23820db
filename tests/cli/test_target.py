"""`--target tensorrt`: the fours of what is written are counted by plain loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

Run = Callable[..., Any]


@pytest.fixture(params=["convolutions", "products"])
def model(request: pytest.FixtureRequest, small_digits: Path, samples: Path) -> Path:
    """Both kinds of weights."""
    return small_digits if request.param == "convolutions" else samples / "digits_transformer.onnx"


def manifest(path: Path) -> dict[str, Any]:
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    loaded: dict[str, Any] = json.loads(metadata["domino_onnx.manifest"])
    return loaded


def broken_fours(path: Path) -> dict[str, int]:
    """Of every pruned weight with at least 16 channels on each side: fours along its axis with more than two left."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for claim in manifest(path)["weights"]:
        weight = np.moveaxis(weights[claim["name"]], claim["axis"], -1)
        if weight.shape[-1] % 16 or weight.shape[0] < 16:
            continue
        rows = weight.reshape(-1, weight.shape[-1]).tolist()
        found[claim["name"]] = sum(
            sum(value != 0 for value in row[start : start + 4]) > 2 for row in rows for start in range(0, len(row), 4)
        )
    return found


def lost_energy(path: Path) -> float:
    """The share of the squares of these weights that isn't in the two largest of each four."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    kept = whole = 0.0
    for claim in manifest(path)["weights"]:
        if claim["name"] in broken_fours(path):
            values = np.moveaxis(weights[claim["name"]], claim["axis"], -1).reshape(-1).tolist()
            for start in range(0, len(values), 4):
                squares = sorted((value**2 for value in values[start : start + 4]), reverse=True)
                kept, whole = kept + sum(squares[:2]), whole + sum(squares)
    return 1 - kept / whole


@pytest.mark.parametrize(
    "recipe", [{"search.strategy": "uniform"}, {"search.strategy": "domino"}, {"search.pool": "4:16,8:32"}]
)
def test_masks_by_magnitude_are_legal(recipe: dict[str, str], domino: Run, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ("--sparsity", "0.6", "--target", "tensorrt", "-o", output, "--json")
    ran = domino("compress", model, *words, recipe=recipe)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["target"] == manifest(output)["target"] == "tensorrt"
    found = broken_fours(output)
    assert len(found) > 2
    assert not any(found.values())
    assert domino("verify", output).code == 0


@pytest.mark.parametrize("masks", ["admm", "obs", "activation"])
def test_masks_on_data_are_legal_and_stay_so_when_they_move(
    masks: str, domino: Run, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    output, finetuned = tmp_path / "out.onnx", tmp_path / "finetuned.onnx"
    data = ["--data", samples / "digits_calibration.npz"]
    model = small_digits
    ran = domino(
        *("compress", model, "--scheme", "4:16", "--target", "tensorrt", *data, "--no-finetune", "-o", output),
        recipe={"solver.masks": masks},
    )
    assert ran.code == 0, ran.err
    assert not any(broken_fours(output).values())
    ran = domino(
        *("finetune", output, "--teacher", model, *data, "--finetune-steps", "6", "-o", finetuned),
        recipe={"finetune.method": "sr-ste", "finetune.lr": 0.05},
    )
    assert ran.code == 0, ran.err
    assert manifest(finetuned)["target"] == "tensorrt"
    assert not any(broken_fours(finetuned).values())


def test_without_a_target_the_same_plan_breaks_fours(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    ran = domino("compress", small_digits, "--scheme", "8:16", "-o", output, "--json")
    assert ran.code == 0
    assert all(broken_fours(output).values())
    toll = json.loads(ran.out)["tensorrt"]
    assert (toll["eligible"], toll["broken"]) == (len(broken_fours(output)),) * 2
    assert toll["lost_energy"] == pytest.approx(lost_energy(output), rel=1e-4)
    told = domino("compress", small_digits, "--scheme", "8:16", "-o", output, "--force").out
    assert "are not 2:4" in told
    legal = domino("compress", small_digits, "--scheme", "2:4", "-o", output, "--force").out
    assert "are not 2:4" not in legal
    domino("compress", small_digits, "--scheme", "8:16", "-o", output, "--force")
    assert manifest(output)["target"] == "generic"
    assert domino("verify", output).code == 0


def test_a_plan_carries_its_target_and_the_command_line_overrules_it(
    domino: Run, small_digits: Path, tmp_path: Path
) -> None:
    plan, output, other = tmp_path / "plan.json", tmp_path / "out.onnx", tmp_path / "other.onnx"
    model = small_digits
    searched = domino("search", model, "--sparsity", "0.7", "--target", "tensorrt", "-o", plan)
    assert searched.code == 0, searched.err
    assert json.loads(plan.read_text())["target"] == "tensorrt"
    assert domino("apply", model, plan, "-o", output).code == 0
    assert manifest(output)["target"] == "tensorrt"
    assert not any(broken_fours(output).values())
    assert domino("apply", model, plan, "--target", "generic", "-o", other).code == 0
    assert manifest(other)["target"] == "generic"
    plan.write_text(plan.read_text().replace('"tensorrt"', '"toaster"'))
    refused = domino("apply", model, plan, "-o", tmp_path / "none.onnx")
    assert refused.code == 1
    assert "toaster" in refused.err


def test_a_generic_plan_becomes_legal_or_says_why_not(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    plan, model = tmp_path / "plan.json", small_digits
    assert domino("search", model, "--scheme", "8:16", "-o", plan).code == 0
    output = tmp_path / "out.onnx"
    assert domino("apply", model, plan, "--target", "tensorrt", "-o", output).code == 0
    assert not any(broken_fours(output).values())
    plan.write_text(plan.read_text().replace("8:16", "12:16"))
    refused = domino("apply", model, plan, "--target", "tensorrt", "-o", tmp_path / "none.onnx")
    assert refused.code == 1
    assert "12:16" in refused.err
    assert "two of each aligned four" in refused.err


def test_speed_only_leaves_dense_what_cannot_be_fast(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    model = small_digits
    ran = domino(
        *("compress", model, "--scheme", "2:4", "--target", "tensorrt", "--speed-only", "-o", output, "--json")
    )
    assert ran.code == 0, ran.err
    skipped = {skip["op"]: skip["reason"] for skip in json.loads(ran.out)["skipped"]}
    assert "10 channels out" in skipped["Gemm"]
    assert all(claim["shape"][0] >= 16 for claim in manifest(output)["weights"])
    assert domino("compress", model, "--scheme", "2:4", "--speed-only", "-o", output, "--force").code == 2


@pytest.mark.parametrize("command", ["apply", "compress"])
def test_speed_only_takes_the_target_from_the_plan(
    command: str, domino: Run, small_digits: Path, tmp_path: Path
) -> None:
    plan, output, model = tmp_path / "plan.json", tmp_path / "out.onnx", small_digits
    fast = ("--scheme", "2:4", "--target", "tensorrt", "--speed-only", "-o", plan)
    assert domino("search", model, *fast).code == 0
    words = (model, plan) if command == "apply" else (model, "--plan", plan)
    ran = domino(command, *words, "--speed-only", "-o", output, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["target"] == manifest(output)["target"] == "tensorrt"
    assert "10 channels out" in {skip["op"]: skip["reason"] for skip in json.loads(ran.out)["skipped"]}["Gemm"]
    assert len(broken_fours(output)) == len(manifest(output)["weights"]) > 3
    if command == "apply":  # a recipe's goal is not looked at
        again = domino(*("apply", *words, "--speed-only", "-o", output, "--force"), recipe={"goal.sparsity": 0.5})
        assert again.code == 0, again.err
    before = output.read_bytes()
    assert domino("search", model, "--scheme", "2:4", "-o", plan, "--force").code == 0
    refused = domino(command, *words, "--speed-only", "-o", output, "--force")
    assert refused.code == 2
    assert "give --target tensorrt" in " ".join(refused.err.split())
    assert output.read_bytes() == before


def rename_target(path: Path, old: str, new: str) -> None:
    """Let the manifest of a file name another target."""
    model = onnx.load(path)
    for entry in model.metadata_props:
        entry.value = entry.value.replace(f'"target":"{old}"', f'"target":"{new}"')
    onnx.save(model, path)


def test_verify_finds_a_file_that_breaks_its_target(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    assert domino("compress", small_digits, "--scheme", "8:16", "-o", output).code == 0
    rename_target(output, "generic", "tensorrt")
    ran = domino("verify", output, "--json")
    assert ran.code == 3
    problems = json.loads(ran.out)["problems"]
    assert len(problems) > 3
    assert all("aligned fours" in problem for problem in problems)
    rename_target(output, "tensorrt", "toaster")
    ran = domino("verify", output, "--json")
    assert ran.code == 3
    assert any("toaster" in problem for problem in json.loads(ran.out)["problems"])


def test_verify_prints_that_it_does_not_know_a_target(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    assert domino("compress", small_digits, "--scheme", "2:4", "-o", path).code == 0
    rename_target(path, "generic", "vulkan")
    ran = domino("verify", path)
    assert ran.code == 3
    assert "the target 'vulkan' is unknown" in ran.out

"""`--scheme` and `--pool`; groups are counted by plain loops in the files that are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Run = Callable[..., Any]
Groups = Callable[..., list[list[int]]]
MODELS = ["digits_resnet.onnx", "digits_transformer.onnx"]
node = helper.make_node


def stored(path: Path) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def claims(path: Path) -> list[dict[str, Any]]:
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return list(json.loads(metadata["domino_onnx.manifest"])["weights"])


def check_groups(path: Path, groups_of: Groups) -> set[str]:
    """Every group of every weight in the manifest keeps N or fewer of M; the schemes that there are."""
    weights = stored(path)
    for claim in claims(path):
        flat = weights[claim["name"]].reshape(-1)
        for group in groups_of(tuple(claim["shape"]), claim["axis"], claim["m"]):
            assert sum(1 for index in group if flat[index] != 0) <= claim["n"], claim["name"]
    return {f"{claim['n']}:{claim['m']}" for claim in claims(path)}


@pytest.mark.parametrize("name", MODELS)
def test_one_scheme_for_all_needs_nothing_else(
    name: str, domino: Run, samples: Path, tmp_path: Path, groups_of: Groups
) -> None:
    output = tmp_path / "out.onnx"
    ran = domino("compress", samples / name, "--scheme", "2:4", "-o", output, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["strategy"], document["budgets"]) == ("uniform", [])
    assert {(site["n"], site["m"]) for site in document["sites"]} == {(2, 4)}
    assert len(document["sites"]) == len(claims(output))
    assert check_groups(output, groups_of) == {"2:4"}
    assert domino("verify", output).code == 0
    assert "2:4" in domino("inspect", output).out


def test_one_scheme_for_all_falls_back_to_its_density_or_says_why_not(
    domino: Run, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path, groups_of: Groups
) -> None:
    lengths = (10, 16, 20, 24)
    nodes = [node("MatMul", [f"x{n}", f"w{n}"], [f"y{n}"]) for n in lengths]
    generator = np.random.default_rng(0)
    arrays = {f"w{n}": generator.standard_normal((n, 8)).astype(np.float32) for n in lengths}
    model = save(make_model(nodes, {f"x{n}": ["b", n] for n in lengths}, {f"y{n}": None for n in lengths}, arrays))
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    ran = domino("compress", model, "--scheme", "4:16", "-o", output, "--json")
    assert ran.code == 0, ran.err
    schemes = {claim["name"]: (claim["n"], claim["m"]) for claim in claims(output)}
    assert schemes == {"w16": (4, 16), "w20": (1, 4), "w24": (2, 8)}
    (skip,) = json.loads(ran.out)["skipped"]
    assert (skip["weight"], "10 weights" in skip["reason"]) == ("w10", True)
    check_groups(output, groups_of)
    assert stored(output)["w10"].all()

    ran = domino("search", model, "--scheme", "4:16", "-o", plan)
    assert ran.code == 0, ran.err
    assert "uniform: 64.29 % zeros planned" in ran.out  # 45 of 70 rows
    assert domino("apply", model, plan, "-o", tmp_path / "same.onnx").code == 0
    assert (tmp_path / "same.onnx").read_bytes() == output.read_bytes()

    ran = domino("compress", model, "--scheme", "1:7", "-o", tmp_path / "none.onnx")
    assert (ran.code, "no weight of the model can have 1:7" in ran.err) == (1, True)
    assert not (tmp_path / "none.onnx").exists()


@pytest.mark.parametrize("strategy", ["uniform", "erk", "domino"])
@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (["--pool", "1:4,2:4"], {"2:4", "1:4"}),
        (["--pool", "1:8,2:8,4:8"], {"4:8", "2:8", "1:8", "2:4", "1:4"}),
        (["--pool", "1:32,2:32,4:32,8:32,16:32"], {f"{1 << n}:{1 << m}" for m in range(2, 6) for n in range(m)}),
        (["--pool", "1:16,2:16"], {"1:16", "2:16", "1:8"}),
        (["--pool", "2:4,1:4,2:16"], {"2:4", "1:4", "2:16"}),
        (["--pool", "3:12,6:12,1:5,1:16"], {"2:8", "4:8", "1:4", "2:4", "1:16"}),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_every_strategy_keeps_to_the_pool_and_the_budget(
    options: list[str], allowed: set[str], strategy: str, domino: Run, small_digits: Path, tmp_path: Path,
    groups_of: Groups,
) -> None:  # fmt: skip
    output = tmp_path / "out.onnx"
    words = ("compress", small_digits, "--sparsity", "0.6", *options, "-o", output, "--json")
    ran = domino(*words, recipe={"search.strategy": strategy})
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["sparsity"] >= 0.6
    found = check_groups(output, groups_of)
    assert found
    assert found <= allowed
    assert domino("verify", output).code == 0


def test_a_plan_and_a_manifest_with_thirds_can_be_applied_and_finetuned(
    domino: Run, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path, groups_of: Groups
) -> None:
    """No power of two of at least 4 divides 18: only the schemes in the file say that the weight is a site."""
    generator = np.random.default_rng(0)
    arrays = {"w": generator.standard_normal((18, 8)).astype(np.float32)}
    model = save(make_model([node("MatMul", ["x", "w"], ["y"])], {"x": ["b", 18]}, {"y": None}, arrays))
    np.savez(tmp_path / "data.npz", x=generator.standard_normal((40, 18)).astype(np.float32))
    plan = tmp_path / "plan.json"
    assert domino("search", model, "--pool", "2:6,1:9", "--sparsity", "0.6", "-o", plan).code == 0
    assert '{"weight": "w", "scheme": "2:6"}' in plan.read_text()
    for name, arguments in {
        "applied.onnx": ["apply", model, plan],
        "planned.onnx": ["compress", model, "--plan", plan, "--no-finetune"],
    }.items():
        ran = domino(*arguments, "-o", tmp_path / name)
        assert ran.code == 0, ran.err
        assert check_groups(tmp_path / name, groups_of) == {"2:6"}
    pytest.importorskip("torch")
    finetuned = tmp_path / "finetuned.onnx"
    ran = domino(
        *("finetune", tmp_path / "applied.onnx", "--teacher", model, "--data", tmp_path / "data.npz"),
        *("--finetune-steps", 4, "-o", finetuned),
    )
    assert ran.code == 0, ran.err
    assert check_groups(finetuned, groups_of) == {"2:6"}
    assert domino("verify", finetuned).code == 0


def test_two_schemes_of_one_density_are_warned_of(domino: Run, small_digits: Path, tmp_path: Path) -> None:
    model = small_digits
    ran = domino("inspect", model, "--pool", "2:4,8:16,1:4")
    assert "8:16 1:4" in ran.out
    assert "2:4, 8:16 keep the same share" in ran.out
    ran = domino("search", model, "--pool", "2:4,8:16", "--sparsity", "0.4", "-o", tmp_path / "plan.json")
    assert "warning: 2:4, 8:16 keep the same share" in ran.err


def test_inspect_shows_what_a_site_may_get(domino: Run, samples: Path) -> None:
    ran = domino("inspect", samples / "digits_transformer.onnx")
    assert "{8,4,2,1}:16" in ran.out
    assert "{2,1}:4" in ran.out
    ran = domino("inspect", samples / "digits_transformer.onnx", "--pool", "2:4,1:16", "--json")
    assert ["16:16", "2:4", "1:16"] in [site["schemes"] for site in json.loads(ran.out)["sites"]]


@pytest.mark.parametrize("strategy", ["uniform", "domino"])
def test_sparsity_and_flops_may_be_asked_for_together(
    strategy: str, domino: Run, small_digits: Path, tmp_path: Path
) -> None:
    options = ["--sparsity", "0.6", "--flops-reduction", "0.7"]
    recipe = {"search.strategy": strategy}
    ran = domino("search", small_digits, *options, "-o", tmp_path / "plan.json", "--json", recipe=recipe)
    document = json.loads(ran.out)
    assert document["budgets"] == [
        {"measure": "params", "reduction": 0.6},
        {"measure": "flops", "reduction": 0.7},
    ]
    assert document["planned_sparsity"] >= 0.6
    assert document["planned_flops_saved"] >= 0.7
    assert not {"sparsity", "flops_saved"} & document.keys()
    assert json.loads((tmp_path / "plan.json").read_text())["budgets"] == document["budgets"]
    ran = domino("search", small_digits, *options, "-o", tmp_path / "plan.json", "--force", recipe=recipe)
    zeros, saved = document["planned_sparsity"], document["planned_flops_saved"]
    assert f"{strategy}: {zeros:.2%} zeros planned, {saved:.2%} of the MACs saved".replace("%", " %") in ran.out


CONTRADICTIONS = [
    (["--sparsity", "0"], {}, "--sparsity 0 asks for nothing: give a share above 0"),
    (["--sparsity", "0.5", "--flops-reduction", "0%"], {}, "--flops-reduction 0 asks for nothing"),
    (["--scheme", "2:4", "--sparsity", "0.5"], {}, "--sparsity and --scheme contradict each other: give one"),
    (["--scheme", "2:4", "--flops-reduction", "0.5"], {}, "--flops-reduction and --scheme contradict each other"),
    (["--scheme", "2:4", "--plan", "plan.json"], {}, "--scheme and --plan contradict each other"),
    (["--max-drop", "0.1", "--plan", "plan.json"], {}, "--max-drop and --plan contradict each other"),
    (["--scheme", "2:4", "--pool", "2:4"], {}, "--scheme and --pool contradict each other"),
    (["--scheme", "2:4"], {"search.strategy": "domino"}, "drop search.strategy = 'domino'"),
    (["--scheme", "2:4", "--speed-only"], {}, "give --target tensorrt"),
]


@pytest.mark.parametrize(("options", "recipe", "says"), CONTRADICTIONS)
def test_two_answers_to_one_question_are_wrong_usage(
    options: list[str], recipe: dict[str, str], says: str, domino: Run, small_digits: Path
) -> None:
    ran = domino("compress", small_digits, *options, recipe=recipe)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--pool", "2:4,4:2"], "'--pool': scheme 4:2 is impossible"),
        (["--pool", "2:4,,1:4"], "'--pool': entry 2 of 3 in the pool '2:4,,1:4' is empty"),
        (["--pool", "4:4"], "'--pool': none of these schemes prunes anything"),
        (["--pool", "half"], "'--pool': 'half' is not an N:M scheme"),
    ],
)
def test_pools_with_a_wrong_entry_are_wrong_usage(
    options: list[str], says: str, domino: Run, small_digits: Path
) -> None:
    ran = domino("inspect", small_digits, *options)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


@pytest.mark.parametrize(
    ("scheme", "code", "says"), [("2/4", 2, "'--scheme': '2/4' is not"), ("4:4", 1, "none of these schemes prunes")]
)
def test_schemes_that_are_none_are_refused(scheme: str, code: int, says: str, domino: Run, small_digits: Path) -> None:
    ran = domino("compress", small_digits, "--scheme", scheme)
    assert (ran.code, says in ran.err) == (code, True)

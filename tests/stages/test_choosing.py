"""Of two plans that come into question the one stays whose refitted network is closer to the dense one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domino_onnx.scheme import FrozenMapping, WeightKey
from domino_onnx.search import LossTable


def test_what_is_lost_early_counts_less_where_it_is_mended() -> None:
    table = LossTable(losses=FrozenMapping((WeightKey(name), (0.0, 8.0)) for name in "abc"))
    mended = table.mended(0.25)
    assert [mended.losses[WeightKey(name)] for name in "abc"] == [(0, 2), (0, 4), (0, 8)]
    assert LossTable(losses=FrozenMapping({WeightKey("a"): (0.0, 8.0)})).mended(0.25).losses[WeightKey("a")] == (0, 2)


@pytest.mark.parametrize("better", [0, 1])
def test_the_better_one_stays(
    better: int, domino: Any, samples: Path, small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages import choosing

    plans, divergences = [], [1.0, 1.0]
    divergences[better] = 0.5

    def solve(run: Any, plan: Any) -> Any:
        plans.append(plan)
        found = choosing_solve(run, plan)
        return type(found)(
            weights=found.weights, biases=found.biases, solver=found.solver, divergence=divergences[len(plans) - 1]
        )

    choosing_solve = choosing.solve_once
    monkeypatch.setattr(choosing, "solve_once", solve)
    output = tmp_path / "out.onnx"
    words = ["--sparsity", "0.8", "--data", samples / "digits_calibration.npz", "-o", output, "--no-finetune", "--json"]
    ran = domino("compress", small_digits, *words)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert len(plans) == 2
    assert plans[0].schemes != plans[1].schemes
    assert document["divergence"] == 0.5
    chosen = {site["weight"]: f"{site['n']}:{site['m']}" for site in document["sites"]}
    assert chosen == {str(key): str(scheme) for key, scheme in plans[better].schemes.items() if str(key) in chosen}
    assert np.isclose(document["sparsity"], 0.8, atol=0.1)


def test_search_settles_on_the_plan_that_compress_takes(
    domino: Any, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    words = ["--sparsity", "0.8", "--data", samples / "digits_calibration.npz", "--json"]
    model, plan, output = small_digits, tmp_path / "plan.json", tmp_path / "out.onnx"
    assert domino("search", model, *words, "-o", plan).code == 0
    ran = domino("compress", model, *words, "--no-finetune", "-o", output)
    assert ran.code == 0, ran.err
    searched = {site["weight"]: site["scheme"] for site in json.loads(plan.read_text())["sites"]}
    assert searched == {site["weight"]: f"{site['n']}:{site['m']}" for site in json.loads(ran.out)["sites"]}

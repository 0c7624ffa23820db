"""`inspect --bridge`: can this model be finetuned?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch")

Run = Callable[..., Any]
KEYS = {
    "supported", "missing", "inputs", "parity_ok", "max_abs", "max_rel", "worst", "trainable_sites", "sites", "reason",
}  # fmt: skip


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
@pytest.mark.parametrize("with_data", [False, True])
def test_sample_models_can(name: str, with_data: bool, domino: Run, samples: Path) -> None:
    data = ["--data", samples / "digits_calibration.npz"] if with_data else []
    ran = domino("inspect", samples / f"{name}.onnx", "--bridge", "--threads", 1, "--json", *data)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    bridge = document["bridge"]
    assert set(bridge) == KEYS
    assert bridge["inputs"] == ("data" if with_data else "random")
    assert (bridge["supported"], bridge["missing"], bridge["parity_ok"]) == (True, [], True)
    assert (bridge["worst"], bridge["reason"]) == (None, None)
    assert bridge["trainable_sites"] == bridge["sites"] == len(document["sites"])
    assert 0 <= bridge["max_abs"] < 1e-3
    assert 0 <= bridge["max_rel"] < 1e-3


def test_it_is_not_asked_without_the_option(domino: Run, samples: Path) -> None:
    assert "bridge" not in json.loads(domino("inspect", samples / "digits_resnet.onnx", "--json").out)


def test_a_person_is_told_on_what(domino: Run, samples: Path) -> None:
    model = samples / "digits_resnet.onnx"
    out = domino("inspect", model, "--bridge", "--threads", 1).out
    assert "random inputs (--data FILE takes yours)" in out
    assert "finetuning  possible" in out
    out = domino("inspect", model, "--bridge", "--threads", 1, "--data", samples / "digits_calibration.npz").out
    assert "your data" in out


@pytest.fixture
def foreign(make_model: Callable[..., Any], save: Callable[..., Path]) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Odd", ["h"], ["y"], domain="other")]
    arrays = {"w": np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)}
    return save(make_model(nodes, {"x": [1, 16]}, {"y": [1, 16]}, arrays, domains={"other": 1}), check=False)


def test_an_operator_without_a_counterpart(domino: Run, foreign: Path) -> None:
    ran = domino("inspect", foreign, "--bridge", "--json")
    assert ran.code == 0
    bridge = json.loads(ran.out)["bridge"]
    assert (bridge["supported"], bridge["missing"], bridge["parity_ok"]) == (False, ["other::Odd-1"], None)
    assert (bridge["trainable_sites"], bridge["sites"]) == (0, 1)
    assert "other::Odd-1" in bridge["reason"]
    assert "not possible: no torch counterpart" in domino("inspect", foreign, "--bridge").out


def test_a_mismatch_names_the_first_tensor(domino: Run, samples: Path, wrong_operator: Callable[..., None]) -> None:
    import onnx

    wrong_operator("Relu")
    model = samples / "digits_resnet.onnx"
    first = next(node for node in onnx.load(model).graph.node if node.op_type == "Relu")
    bridge = json.loads(domino("inspect", model, "--bridge", "--threads", 1, "--json").out)["bridge"]
    assert (bridge["supported"], bridge["parity_ok"], bridge["worst"]) == (True, False, first.output[0])
    assert first.output[0] in bridge["reason"]
    assert "doesn't reproduce ONNX Runtime" in domino("inspect", model, "--bridge", "--threads", 1).out


def test_without_torch_it_says_what_to_install(domino: Run, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("domino_onnx.bridge")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = domino("inspect", samples / "digits_resnet.onnx", "--bridge")
    assert ran.code == 1
    assert "domino-onnx[finetune]" in ran.err


def test_data_tell_shapes_without_the_bridge(domino: Run, samples: Path) -> None:
    ran = domino("inspect", samples / "digits_resnet.onnx", "--data", samples / "digits_calibration.npz", "--json")
    assert all(site["macs"] for site in json.loads(ran.out)["sites"])

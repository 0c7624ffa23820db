"""Which layers get 8 bits: those that gain by them, as long as the outputs bear it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import Layer, find_layers, open_graph
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions, DataOptions, RunOptions
from domino_onnx.stages import Journal
from domino_onnx.stages.deploying import choice as deploy_choice
from domino_onnx.stages.deploying.accuracy import ByteJudge, byte_judge
from domino_onnx.stages.deploying.bench import Bench
from domino_onnx.stages.deploying.choice import Chooser

from .test_rewrite import normal, ops, sparse

Make = Callable[..., ModelProto]
Run = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model whose second product has weights of very different sizes in each output."""

    model: ModelProto
    layers: list[Layer]
    judge: ByteJudge


def _options(data: Path | None) -> CompressOptions:
    return CompressOptions(data=DataOptions(calibration=data), run=RunOptions(threads=1))


def _saved(model: ModelProto, folder: Path, count: int = 40) -> tuple[Path, Path]:
    path, data = folder / "model.onnx", folder / "data.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, x=normal(count, 64))
    return path, data


def _said(domino: Run, path: Path, *options: object) -> dict[str, Any]:
    ran = domino("deploy", path, "--threads", "1", "--json", *options)
    assert ran.code == 0, ran.err
    said: dict[str, Any] = json.loads(ran.out)
    return said


@pytest.fixture
def case(make_model: Make, tmp_path: Path) -> Case:
    hard = sparse((64, 64), 0, 2)
    hard[0] = 300 * (np.arange(64) % 2)  # its input is nearly zero: 8 bits leave nothing of the others
    first = sparse((64, 64), 0, 1)
    first[:, 0] = 1e-6 * (np.arange(64) % 9 == 0)
    model = make_model(
        [helper.make_node("MatMul", [a, w], [b]) for a, w, b in (("x", "v", "a"), ("a", "w", "b"), ("b", "u", "y"))],
        {"x": ("N", 64)},
        {"y": ("N", 64)},
        {"v": first, "w": hard, "u": sparse((64, 64), 0, 3)},
    )
    path, data = _saved(model, tmp_path)
    layers, _ = find_layers(open_graph(model), {})
    judge = byte_judge(read_model(path), model.SerializeToString(), layers, _options(data))
    assert isinstance(judge, ByteJudge)
    return Case(model=model, layers=layers, judge=judge)


def _chosen(case: Case) -> tuple[Chooser, Any, set[Layer]]:
    """With 8 bits faster in each layer, and as many in 8 bits as the judge bears."""
    timed: Any = {layer: {"dense": 3.0, "float32": 2.0, "int8": 1.0} for layer in case.layers}
    bench = Bench(whole=case.model, inputs={}, runs=[{}], threads=1)
    chooser = Chooser(bench, timed, case.judge, Journal())
    in_bytes, floats = (dict.fromkeys(case.layers, kind) for kind in ("int8", "float32"))
    return chooser, *chooser.within(in_bytes, floats, case.judge)  # type: ignore[arg-type]


def test_only_the_layer_that_costs_too_much_keeps_its_floats(case: Case) -> None:
    chooser, choice, refused = _chosen(case)
    assert list(choice.values()) == ["int8", "float32", "int8"]
    assert refused == {case.layers[1]}
    assert case.judge.divergence(chooser.written(choice)) <= case.judge.most == 0.001


def test_none_has_8_bits_where_no_loss_is_allowed(case: Case) -> None:
    case.judge.most = 0.0
    chooser, choice, refused = _chosen(case)
    assert (choice, refused) == (dict.fromkeys(case.layers, "float32"), set(case.layers))
    assert set(ops(chooser.written(choice))) == {"NmMatMul"}


def test_all_have_8_bits_where_any_loss_is_allowed(case: Case) -> None:
    case.judge.most = math.inf
    _, choice, refused = _chosen(case)
    assert (choice, refused) == (dict.fromkeys(case.layers, "int8"), set())


def test_other_samples_judge_than_calibrate(case: Case) -> None:
    assert case.judge.samples == 20
    assert case.judge.divergence(case.model) == 0


@pytest.mark.parametrize(("seconds", "careful", "best"), [
    ([10, 8, 7.9], True, 1),  # a gain of a hundredth isn't worth a loss
    ([10, 8, 7.9], False, 2),
    ([10, 8, 7], True, 2),
    ([10, 11, 12], True, 0),
])  # fmt: skip
def test_8_bits_have_to_be_worth_it(case: Case, seconds: list[float], careful: bool, best: int) -> None:
    choices: Any = [dict.fromkeys(case.layers, kind) for kind in ("dense", "float32", "int8")]
    assert deploy_choice._best(choices, seconds, careful=careful) == best


@pytest.mark.parametrize(("count", "why"), [(None, "there are no --data"), (1, "can't both calibrate and judge")])
def test_without_judges_nothing_has_8_bits(
    domino: Run, make_model: Make, tmp_path: Path, count: int | None, why: str
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = make_model(nodes, {"x": ("N", 64)}, {"y": ("N", 64)}, {"w": sparse((64, 64), 0)})
    path, data = _saved(model, tmp_path, count or 1)
    given = [] if count is None else ["--data", data]
    said = _said(domino, path, *given)
    assert set(said["layers"][0]["seconds"]) == {"dense", "float32"}
    assert said["divergence"] is None
    assert why in said["int8"]


def test_each_layer_is_told_why(domino: Run, make_model: Make, tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = make_model(nodes, {"x": ("N", 64)}, {"y": ("N", 64)}, {"w": sparse((64, 64), 0)})
    path, data = _saved(model, tmp_path)
    said = _said(domino, path, "--data", data)
    layer = said["layers"][0]
    assert set(layer["seconds"]) == {"dense", "float32", "int8"}
    assert "dense" in layer["reason"]
    assert (said["divergence"] is not None) == (layer["chosen"] == "int8")

"""Losses are kept site by site while they are measured: a run that goes on measures the rest, and comes to the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from domino_onnx.reconstruction import sensitivity
from domino_onnx.stages.checkpoints.sealed import write_sealed

Run = Callable[..., Any]

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[n, 16] x) => (float[n, 16] y) {
    g = Gemm (x, a)
    h = Relu (g)
    i = Gemm (h, b)
    j = Tanh (i)
    k = Gemm (j, a)
    y = Gemm (k, c)
}
"""
OF_THE_ATTEMPT = ("seconds", "peak_rss_bytes_by_stage", "peak_rss_bytes", "forecast")
RECIPE = {"run.checkpoint_after": 0, "run.checkpoint_every": 0}
POINTS, SITES = 2, 3


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A command about three weights, one of them used twice."""
    model, generator = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for name in "abc":
        weight = generator.standard_normal((16, 16)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=generator.standard_normal((100, 16)).astype(np.float32))
    given = ["compress", tmp_path / "model.onnx", "--sparsity", "0.6", "--data", tmp_path / "data.npz"]
    return [*given, "--no-finetune", "-o", tmp_path / "out.onnx", "--json"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Behind the first entry one for each loss that is measured. The first says after how many a run is interrupted.

    Saving takes no notice of its own time.
    """
    monkeypatch.setattr("domino_onnx.stages.checkpoints.training_state._WORK_A_SAVE", 0)
    calls: list[int] = []
    real = sensitivity._Sensitivity._at_outputs

    def counted(*arguments: Any) -> float:
        if calls and calls[0] == len(calls) - 1:
            raise KeyboardInterrupt
        calls.append(0)
        return real(*arguments)

    monkeypatch.setattr(sensitivity._Sensitivity, "_at_outputs", counted)
    return calls


def told(text: str) -> dict[str, Any]:
    """A report without what each attempt has of its own."""
    return {key: value for key, value in json.loads(text).items() if key not in OF_THE_ATTEMPT}


def contents(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return dict(json.loads(archive["head"].tobytes()))


def put(path: Path, head: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        write_sealed(stream, [("head", np.frombuffer(json.dumps(head).encode(), np.uint8))])


def test_interrupted_before_each_measurement(
    words: list[object], measured: list[int], domino: Run, tmp_path: Path
) -> None:
    output, kept = tmp_path / "out.onnx", tmp_path / "out.onnx.partial"
    measured.append(1_000)
    whole = domino(*words, recipe=RECIPE)
    assert (whole.code, len(measured) - 1) == (0, POINTS * SITES), whole.err
    written = output.read_bytes()
    for before in range(POINTS * SITES):
        output.unlink()
        measured[:] = [before]
        assert domino(*words, recipe=RECIPE).code == 130
        done = before // POINTS
        assert (kept / "some-losses.npz").exists() == (done > 0)
        measured[:] = [1_000]
        ran = domino(*words, "--resume", recipe=RECIPE)
        assert (ran.code, len(measured) - 1) == (0, POINTS * (SITES - done)), ran.err
        assert told(ran.out) == told(whole.out)
        assert output.read_bytes() == written
        assert not kept.exists()


def test_all_losses_supersede_some(
    words: list[object], domino: Run, tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    with interrupt("stages.planning._by_losses"):
        assert domino(*words, recipe=RECIPE).code == 130
    assert [path.name for path in (tmp_path / "out.onnx.partial").glob("*.npz")] == ["losses.npz"]


def test_they_are_saved_after_a_while(words: list[object], measured: list[int], domino: Run, tmp_path: Path) -> None:
    """The first one as soon as the run is worth keeping, others only when as many seconds have passed."""
    measured[:] = [POINTS * 2]
    assert domino(*words, recipe={**RECIPE, "run.checkpoint_every": 3600}).code == 130
    document = contents(tmp_path / "out.onnx.partial" / "some-losses.npz")["document"]
    assert [key["name"] for key, _ in document["sites"]] == ["a"]


EDITS: dict[str, tuple[Callable[[list[Any]], object], str]] = {
    "no losses": (lambda s: s[0][1].pop("losses"), "lacks the key 'losses'"),
    "another weight": (lambda s: s[0][0].update(name="x"), "losses of other weights"),
    "a weight twice": (lambda s: s.append(s[0]), "losses of other weights"),
    "a loss less": (lambda s: s[1][1]["losses"].pop(), "its losses of 'b' are none of"),
    "a loss that isn't a number": (lambda s: s[0][1]["losses"].__setitem__(1, float("nan")), "its losses of 'a'"),
    "a loss that is infinite": (lambda s: s[0][1]["losses"].__setitem__(-1, float("inf")), "its losses of 'a'"),
    "losses that fall": (lambda s: s[0][1]["losses"].__setitem__(-1, 0.0), "its losses of 'a'"),
    "an energy more": (lambda s: s[0][1]["energies"].append(1.0), "its energies of 'a'"),
    "an infinite energy": (lambda s: s[1][1]["energies"].__setitem__(1, float("inf")), "its energies of 'b'"),
}


def test_edited_losses_are_refused(words: list[object], measured: list[int], domino: Run, tmp_path: Path) -> None:
    measured[:] = [POINTS * 2]
    assert domino(*words, recipe=RECIPE).code == 130
    path = tmp_path / "out.onnx.partial" / "some-losses.npz"
    head = contents(path)
    assert [key["name"] for key, _ in head["document"]["sites"]] == ["a", "b"]
    for name, (edit, says) in EDITS.items():
        edited = copy.deepcopy(head)
        edit(edited["document"]["sites"])
        put(path, edited)
        ran = domino(*words, "--resume", recipe=RECIPE)
        assert ran.code == 1, name
        error = json.loads(ran.out)["error"]
        assert error["type"] == "CheckpointError", name
        assert f"{path} can't be gone on from" in error["message"], name
        assert says in error["message"], (name, error["message"])
    put(path, head)
    measured[:] = [1_000]
    assert domino(*words, "--resume", recipe=RECIPE).code == 0

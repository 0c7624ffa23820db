"""The model has left memory before two models are compared, without the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

Run = Callable[..., Any]

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
chain (float[n, 16] x) => (float[n, 16] y) {
    h = MatMul (x, a)
    r = Relu (h)
    y = MatMul (r, b)
}
"""
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
branches (float[n, 16] x) => (float[n, 16] y) <bool c = {1}> {
    y = If (c) <then_branch = yes () => (float[n, 16] t) { t = MatMul (x, a) },
                else_branch = no () => (float[n, 16] e) { e = MatMul (x, b) }>
}
"""
"""Data reach no weight of it: the stages come to errors, whose tracebacks must not keep the model either."""


def weight(name: str) -> onnx.TensorProto:
    generator = np.random.default_rng(ord(name))
    return numpy_helper.from_array(generator.standard_normal((16, 16)).astype(np.float32), name)


def chain() -> ModelProto:
    model = onnx.parser.parse_model(CHAIN)
    model.graph.initializer.extend([weight("a"), weight("b")])
    return model


def branches() -> ModelProto:
    model = onnx.parser.parse_model(BRANCHES)
    for attribute, name in zip(model.graph.node[0].attribute, "ab", strict=True):
        attribute.g.initializer.append(weight(name))
    return model


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What the test leaves behind goes only if nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What is left at each comparison of what was read from this test's files."""
    from domino_onnx.graph import OnnxFile
    from domino_onnx.pipeline import run
    from domino_onnx.stages.laboratory import Laboratory

    alive: list[list[str]] = []
    compared = run.compared

    def is_ours(thing: object) -> bool:
        path = thing.path if type(thing) is OnnxFile else thing.source.path if type(thing) is Laboratory else None
        return path is not None and tmp_path in path.parents

    def looked(*given: Any) -> Any:
        alive.append([type(thing).__name__ for thing in gc.get_objects() if is_ours(thing)])
        return compared(*given)

    monkeypatch.setattr(run, "compared", looked)
    return alive


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32))
    return path


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("build", [chain, branches])
@pytest.mark.parametrize(
    "more", [["--no-finetune"], ["--finetune-steps", "2"], ["--finetune-steps", "2", "--weights", "int8"]]
)
def test_compress(
    build: Callable[[], ModelProto], more: list[str], domino: Run, save: Run, seen: Any, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    words = ("--sparsity", "0.5", "--data", data, *more, "-o", tmp_path / "out.onnx")
    model = save(build())
    for _ in range(2):  # the first time, imports may leave cycles behind
        ran = domino("compress", model, *words, "--force", recipe={"finetune.lr": 1e-4})
        assert ran.code == 0, ran.err
    assert seen[1] == []


@pytest.mark.usefixtures("without_collector")
def test_what_is_kept_is_seen(
    domino: Run, save: Run, seen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself: here a stage keeps the laboratory."""
    from domino_onnx.pipeline import pruning

    kept: list[object] = []
    find = pruning.found_once
    monkeypatch.setattr(pruning, "found_once", lambda lab: (kept.append(lab), find(lab))[1])
    ran = domino("compress", save(chain()), "--scheme", "2:4", "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    assert [sorted(names) for names in seen] == [["Laboratory", "OnnxFile"]]


@pytest.mark.usefixtures("without_collector")
def test_without_data(domino: Run, save: Run, seen: Any, tmp_path: Path) -> None:
    ran = domino("compress", save(chain()), "--scheme", "2:4", "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    assert seen == [[]]


@pytest.mark.usefixtures("without_collector")
def test_apply_and_finetune(domino: Run, save: Run, seen: Any, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model, plan, pruned = save(chain()), tmp_path / "plan.json", tmp_path / "pruned.onnx"
    assert domino("search", model, "--scheme", "2:4", "-o", plan).code == 0
    assert domino("apply", model, plan, "--data", data, "-o", pruned).code == 0
    words = ("--teacher", model, "--data", data, "--finetune-steps", "2", "-o", tmp_path / "finetuned.onnx", "--force")
    for _ in range(2):
        assert domino("finetune", pruned, *words, recipe={"finetune.lr": 1e-4}).code == 0
    assert (seen[0], seen[2]) == ([], [])


@pytest.mark.usefixtures("without_collector")
def test_cycles_that_hold_it_are_collected(
    domino: Run, save: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As imports leave them."""
    from domino_onnx.pipeline import pruning
    from domino_onnx.stages.writing import concluding

    kept: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    find, compare_if_possible = pruning.found_once, concluding.compare_if_possible

    def found(lab: Any) -> Any:
        cycle: list[Any] = [lab]
        cycle.append(cycle)
        kept.append(weakref.ref(lab))
        return find(lab)

    def compared(*given: Any) -> Any:
        alive.extend(each() is not None for each in kept)
        return compare_if_possible(*given)

    monkeypatch.setattr(pruning, "found_once", found)
    monkeypatch.setattr(concluding, "compare_if_possible", compared)
    assert domino("compress", save(chain()), "--scheme", "2:4", "-o", tmp_path / "out.onnx").code == 0
    assert alive == [False]

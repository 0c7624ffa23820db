"""A kind of output all the way: search, refit, finetuning, evaluate, the largest loss, sweep and the report.

Each figure is computed again by plain numpy, from what ONNX Runtime gives for both files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[..., Any]
WIDTH, HIDDEN, CLASSES, STEPS = 16, 64, 8, 6
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
BODY = "a = MatMul (x, w0) b = Relu (a) c = MatMul (b, w1) d = Relu (c)"
pytest.importorskip("torch")


def agreement(dense: Array, pruned: Array, axis: int) -> float:
    return float(np.mean(dense.argmax(axis) == pruned.argmax(axis)))


def error_of_channels(dense: Array, pruned: Array, spread: Array) -> float:
    """The mean over columns of the squared error over the variance, each 1 at most."""
    return float(np.minimum(np.mean((dense - pruned) ** 2, axis=0) / spread.var(axis=0), 1).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A model whose output is of one kind; `drop` is what numpy makes of (dense, pruned, dense on calibration data)."""

    graph: str
    kind: str
    metric: str
    drop: Callable[[Array, Array, Array], float]
    tail: tuple[int, ...] = ()
    axis: int | None = 1


KINDS = {
    "scores": Kind(
        graph=f"(float[n, 16] x) => (float[n, 8] y) {{ {BODY} y = MatMul (d, w2) }}",
        kind="scores",
        metric="agreement",
        drop=lambda dense, pruned, _: 1 - agreement(dense, pruned, 1),
    ),
    "scores along the channel axis": Kind(
        graph=f"(float[n, 6, 16] x) => (float[n, 8, 6] y) {{ {BODY} e = MatMul (d, w2) "
        "y = Transpose <perm = [0, 2, 1]> (e) }",
        kind="scores",
        metric="agreement",
        drop=lambda dense, pruned, _: 1 - agreement(dense, pruned, 1),
        tail=(STEPS,),
    ),
    "probabilities": Kind(
        graph=f"(float[n, 16] x) => (float[n, 8] y) {{ {BODY} e = MatMul (d, w2) y = Softmax (e) }}",
        kind="probabilities",
        metric="agreement",
        drop=lambda dense, pruned, _: 1 - agreement(dense, pruned, 1),
    ),
    "embedding": Kind(
        graph=f"(float[n, 16] x) => (float[n, 8] y) {{ {BODY} e = MatMul (d, r2) "
        "y = LpNormalization <axis = -1, p = 2> (e) }",
        kind="embedding",
        metric="cosine",
        drop=lambda dense, pruned, _: 1 - float(np.sum(dense * pruned, axis=1).mean()),
    ),
    "values in mixed units": Kind(
        graph=f"(float[n, 16] x) => (float[n, 8] y) {{ {BODY} e = MatMul (d, r2) y = Mul (e, units) }}",
        kind="values",
        metric="relative error",
        drop=error_of_channels,
    ),
    "one value": Kind(
        graph=f"(float[n, 16] x) => (float[n, 1] y) {{ {BODY} e = MatMul (d, r1) y = Sigmoid (e) }}",
        kind="values",
        metric="relative error",
        drop=error_of_channels,
        axis=None,
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def samples(seed: int, count: int, tail: tuple[int, ...]) -> tuple[Array, Array]:
    """Inputs around the centres of eight classes, and the classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((CLASSES, WIDTH))
    labels = rng.integers(0, CLASSES, (count, *tail))
    return (centres[labels] + 0.6 * rng.standard_normal((count, *tail, WIDTH))).astype(np.float32), labels


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """`made(graph)`: a file with random layers, and a last one that tells the classes apart where it is `w2`."""

    def write(graph: str) -> Path:
        rng = np.random.default_rng(0)
        arrays = {
            "w0": rng.standard_normal((WIDTH, HIDDEN)) / 4,
            "w1": rng.standard_normal((HIDDEN, HIDDEN)) / 6,
            "r2": rng.standard_normal((HIDDEN, CLASSES)) / 4,
            "r1": rng.standard_normal((HIDDEN, 1)) / 2,
            "units": np.array([300, 300, 40, 1, 1, 0.1, 0.03, 0.01]),
        }
        x, labels = samples(7, 512, ())
        hidden = np.maximum(np.maximum(x @ arrays["w0"], 0) @ arrays["w1"], 0)
        arrays["w2"] = np.linalg.lstsq(hidden, 6 * np.eye(CLASSES)[labels] - 1, rcond=1e-3)[0]
        model = onnx.parser.parse_model(HEAD + graph)
        read = {name for node in model.graph.node for name in node.input}
        for name in sorted(read & arrays.keys()):
            model.graph.initializer.append(numpy_helper.from_array(arrays[name].astype(np.float32), name))
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


@pytest.fixture
def outputs(run_ort: Callable[..., list[Array]]) -> Callable[[Path, Array], list[Array]]:
    return lambda path, x: [np.asarray(output, np.float64) for output in run_ort(onnx.load(path), {"x": x})]


def judged(document: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The one output of a comparison, of the right kind."""
    (output,) = document["outputs"]
    assert (output["kind"], document["metric"], output["metric"]) == (kind.kind, kind.metric, kind.metric)
    assert f"along axis {kind.axis}" in output["means"] or kind.axis is None
    assert document["drop"] == output["drop"]
    found: dict[str, Any] = output
    return found


@every_kind
def test_every_stage_and_numpy_agree(
    kind: Kind, domino: Run, made: Callable[[str], Path], outputs: Callable[..., list[Array]], tmp_path: Path
) -> None:
    model, out = made(kind.graph), tmp_path / "out.onnx"
    data, evaluation = tmp_path / "data.npz", tmp_path / "evaluation.npz"
    learned, unseen = samples(1, 192, kind.tail)[0], samples(2, 96, kind.tail)[0]
    np.savez(data, x=learned)
    np.savez(evaluation, x=unseen)
    both = ("--data", data, "--eval-data", evaluation)

    report = tmp_path / "report.html"
    words = ["compress", model, "--sparsity", "0.5", *both, "--finetune-steps", "6", "-o", out, "--report", report]
    ran = domino(*words, "--json", recipe={"finetune.lr": 1e-3})
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    (on_data,), (dense,), (pruned,) = outputs(model, learned), outputs(model, unseen), outputs(out, unseen)
    wanted = kind.drop(dense, pruned, on_data)
    assert 0 < wanted < 0.6
    assert judged(document["parity"], kind)["drop"] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert document["prediction"] is None or document["prediction"]["metric"] == kind.metric
    assert kind.metric in report.read_text()

    told = json.loads(domino("evaluate", model, out, "--data", evaluation, "--json").out)
    assert judged(told, kind)["drop"] == pytest.approx(kind.drop(dense, pruned, dense), rel=1e-4, abs=1e-6)

    allowed = max(0.1, 1.2 * wanted)
    words = ["compress", model, "--max-drop", allowed, *both, "--no-finetune", "-o", out, "--force", "--json"]
    ran = domino(*words)
    assert ran.code == 0, ran.err
    (pruned,) = outputs(out, unseen)
    assert kind.drop(dense, pruned, on_data) <= allowed + 1e-6
    document = json.loads(ran.out)
    assert {trial["metric"] for trial in document["trials"]} == {kind.metric}
    assert len(document["trials"]) > 1

    ran = domino("sweep", model, "--sparsity", "0.3", "--sparsity", "0.85", *both, "--json")
    mild, harsh = json.loads(ran.out)["trials"]
    assert judged(mild["comparison"], kind)["drop"] < judged(harsh["comparison"], kind)["drop"]


def test_several_outputs_one_by_one(
    domino: Run, made: Callable[[str], Path], outputs: Callable[..., list[Array]], tmp_path: Path
) -> None:
    """Scores, an embedding and the class itself: each is told, and the worst is what is lost."""
    model, out = (
        made(
            f"(float[n, 16] x) => (float[n, 8] s, float[n, 8] e, int64[n, 1] i) {{ {BODY} s = MatMul (d, w2) "
            "f = MatMul (d, r2) e = LpNormalization <axis = -1, p = 2> (f) i = ArgMax <axis = 1> (s) }"
        ),
        tmp_path / "out.onnx",
    )
    x = samples(1, 192, ())[0]
    np.savez(tmp_path / "data.npz", x=x)
    words = ["--data", tmp_path / "data.npz"]
    ran = domino("compress", model, "--sparsity", "0.7", *words, "--no-finetune", "-o", out)
    assert ran.code == 0, ran.err
    assert all(f"\n{name} " in ran.out for name in "sei")
    told = json.loads(domino("evaluate", model, out, *words, "--json").out)
    (s, e, i), (s2, e2, i2) = outputs(model, x), outputs(out, x)
    drops = [1 - agreement(s, s2, 1), 1 - float(np.sum(e * e2, axis=1).mean()), 1 - float(np.mean(i == i2))]
    assert [each["drop"] for each in told["outputs"]] == pytest.approx(drops, abs=1e-6)
    assert [each["kind"] for each in told["outputs"]] == ["scores", "embedding", "exact"]
    assert told["drop"] == pytest.approx(max(drops), abs=1e-6)
    assert told["metric"].rpartition(" of ")[2] in "sei"
    words += ["--output-kind", "e=ignored", "--output-kind", "s=values", "--json"]
    told = json.loads(domino("evaluate", model, out, *words).out)
    assert [(each["name"], each["kind"]) for each in told["outputs"]] == [("s", "values"), ("i", "exact")]


def test_a_kind_of_no_output_is_refused(domino: Run, made: Callable[[str], Path], tmp_path: Path) -> None:
    model = made(KINDS["scores"].graph)
    np.savez(tmp_path / "data.npz", x=samples(1, 8, ())[0])
    ran = domino("evaluate", model, model, "--data", tmp_path / "data.npz", "--output-kind", "z=scores")
    assert ran.code == 1
    assert "--output-kind names 'z'; the model's outputs are 'y'" in " ".join(ran.err.split())


def test_integers_alone_are_compared_though_no_loss_can_be_measured(
    domino: Run, made: Callable[[str], Path], outputs: Callable[..., list[Array]], tmp_path: Path
) -> None:
    graph = f"(float[n, 16] x) => (int64[n, 1] y) {{ {BODY} e = MatMul (d, w2) y = ArgMax <axis = 1> (e) }}"
    model, out, x = made(graph), tmp_path / "out.onnx", samples(1, 160, ())[0]
    np.savez(tmp_path / "data.npz", x=x)
    ran = domino("compress", model, "--sparsity", "0.5", "--data", tmp_path / "data.npz", "-o", out, "--json")
    assert ran.code == 0, ran.err
    parity = json.loads(ran.out)["parity"]
    (dense,), (pruned,) = outputs(model, x), outputs(out, x)
    apart = np.sort(np.random.default_rng(0).permutation(160)[:20])
    assert (parity["metric"], parity["samples"]) == ("equality", 20)
    assert parity["drop"] == pytest.approx(1 - np.mean(dense[apart] == pruned[apart]))

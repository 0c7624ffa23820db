"""A user's own metric: what it is given, what it decides, and how its mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from domino_onnx.errors import MetricError
from domino_onnx.evaluate.metric import Answers, load_metric

Run = Callable[..., Any]
CODE = """
import numpy as np

def closeness(reference, candidate, labels):
    assert labels is None or labels.dtype == np.int64
    return 1 - np.abs(reference["y"] - candidate["y"]).mean() / 5

def shapes(reference, candidate, labels):
    assert {name: np.shape(each) for name, each in reference.items()} == {"y": (50, 8)}
    return len(labels)

def never(reference, candidate, labels):
    return float("nan")

def same_texts(reference, candidate, labels):
    texts = np.array(list("abcdefgh"))
    return float(np.mean(texts[candidate["y"].argmax(1)] == labels))

def fails(reference, candidate, labels):
    return candidate["z"]

number = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.py"
    path.write_text(CODE, encoding="utf-8")
    return path


@pytest.fixture
def files(make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A model of one weight, and data with labels."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 8)).astype(np.float32)
    model = save(
        make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 16]}, {"y": None}, {"w": weight})
    )
    x = rng.standard_normal((50, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=rng.integers(0, 8, 50))
    return model, tmp_path / "data.npz"


def test_it_decides_what_is_lost(code: Path, files: tuple[Path, Path], domino: Run, tmp_path: Path) -> None:
    model, data = files
    output = tmp_path / "out.onnx"
    assert domino("compress", model, "--scheme", "2:4", "-o", output).code == 0
    ran = domino("evaluate", model, output, "--data", data, "--metric", f"{code}:closeness", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    with np.load(data) as arrays:
        x = arrays["x"].astype(np.float64)
    weights = [onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]) for path in (model, output)]
    wanted = float(np.abs(x @ weights[0] - x @ weights[1]).mean()) / 5
    assert (told["metric"], told["custom"]["reference"]) == ("closeness", 1.0)
    assert told["drop"] == pytest.approx(wanted, rel=1e-4)
    assert "closeness" in domino("evaluate", model, output, "--data", data, "--metric", f"{code}:closeness").out


def test_the_largest_loss_is_told_in_it(code: Path, files: tuple[Path, Path], domino: Run, tmp_path: Path) -> None:
    model, data = files
    words = ["--data", data, "--eval-data", data, "--metric", f"{code}:closeness", "--no-finetune", "--json"]
    ran = domino("compress", model, "--max-drop", "0.3", *words, "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert {trial["metric"] for trial in document["trials"]} == {"closeness"}
    assert document["parity"]["drop"] <= 0.3 + 1e-9
    assert "--data and --eval-data are the same" in " ".join(ran.err.split())


def test_it_sees_all_samples_at_once(code: Path, files: tuple[Path, Path], domino: Run) -> None:
    model, data = files
    words = ["--data", data, "--metric", f"{code}:shapes", "--batch-size", "7", "--json"]
    told = json.loads(domino("evaluate", model, model, *words).out)
    assert (told["custom"]["candidate"], told["drop"]) == (50, 0)


def test_its_labels_may_be_text(code: Path, files: tuple[Path, Path], domino: Run) -> None:
    model, data = files
    with np.load(data) as arrays:
        x = arrays["x"]
    weight = onnx.numpy_helper.to_array(onnx.load(model).graph.initializer[0])
    texts = np.array(list("abcdefgh"))[(x @ weight).argmax(1)]
    texts[:10] = "o"
    np.savez(data, x=x, labels=texts)
    told = json.loads(domino("evaluate", model, model, "--data", data, "--metric", f"{code}:same_texts", "--json").out)
    assert told["custom"]["reference"] == 0.8


def test_its_mistakes_show_before_the_work(code: Path, files: tuple[Path, Path], domino: Run, tmp_path: Path) -> None:
    model, data = files
    words = ["--scheme", "2:4", "--data", data, "--metric", f"{code}:fails", "-o", tmp_path / "out.onnx"]
    ran = domino("compress", model, *words, "-v")
    assert (ran.code, "failed: KeyError: 'z'" in ran.err) == (1, True)
    assert "refitting" not in ran.err


def test_batches_that_do_not_fit_together_stay_a_list() -> None:
    answers = Answers()
    for width in (3, 5):
        outputs: dict[str, Any] = {"a": np.zeros((2, width)), "b": np.zeros((2, 4))}
        answers.add(outputs, outputs, 2, None)
    seen: list[Any] = []

    class Spy:
        name = "spy"

        def __call__(self, reference: Any, candidate: Any, labels: Any) -> float:
            seen.append((type(reference["a"]), reference["b"].shape, labels))
            return 0.0

    answers.scores(Spy())  # type: ignore[arg-type]
    assert seen == [(list, (4, 4), None)] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics.py", "names no function"),
        ("nothing.py:f", "there is no file"),
        ("metrics.py:missing", "has no function 'missing'"),
        ("metrics.py:number", "has no function 'number'"),
        ("metrics.py:not a name", "names no function"),
        ("broken.py:f", "can't be run: ZeroDivisionError"),
        ("data.txt:f", "is no Python file"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    text: str, said: str, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    (tmp_path / "data.txt").write_text("f = 1", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetricError, match=said):
        load_metric(text)


@pytest.mark.parametrize(("name", "said"), [("never", "must give a finite number"), ("fails", "failed: KeyError: 'z'")])
def test_a_metric_that_fails_is_an_error_and_nothing_is_written(
    name: str, said: str, code: Path, files: tuple[Path, Path], domino: Run, tmp_path: Path
) -> None:
    model, data = files
    output = tmp_path / "out.onnx"
    words = ["--data", data, "--metric", f"{code}:{name}", "--no-finetune", "-o", output]
    ran = domino("compress", model, "--max-drop", "0.3", *words)
    assert ran.code == 1
    assert said in " ".join(ran.err.split())
    assert not output.exists()

"""What a run is expected to do is what it does, stage by stage; and what is said of the model is so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from domino_onnx.forecast import Forecast, Remaining
from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import apply, compress, search, sweep
from domino_onnx.scheme import Plan
from domino_onnx.stages import Journal, open_laboratory, preflight, read

Run = Callable[..., Any]


class Observer:
    """Counts stages from the forecast on, by the clock that begins with it."""

    latest: Observer

    def __init__(self) -> None:
        self.forecast: Forecast | None = None
        self.runs: Counter[str] = Counter()
        self.lefts: list[float] = []
        self.notes: list[str] = []

    def expect(self, forecast: Forecast) -> None:
        self.forecast = forecast
        Observer.latest = self

    def stage(self, name: str) -> None:
        pass

    def progress(self, done: float, total: float, text: str) -> None:
        pass

    def left(self, seconds: float) -> None:
        self.lefts.append(seconds)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, message: str) -> None:
        pass


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage that begins; an observer hears of one again when a stage inside it has ended."""
    begin = Remaining.begin

    def counting(self: Remaining, name: str, now: float) -> None:
        Observer.latest.runs[name] += 1
        begin(self, name, now)

    monkeypatch.setattr(Remaining, "begin", counting)


@pytest.fixture
def model(save: Callable[..., Path]) -> Path:
    """Two products with a Relu between them."""
    tiny = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        tiny (float[n, 16] x) => (float[n, 16] z) { y = MatMul (x, a)  r = Relu (y)  z = MatMul (r, b) }""")
    rng = np.random.default_rng(1)
    for name, shape in (("a", (16, 32)), ("b", (32, 16))):
        tiny.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return save(tiny)


@pytest.fixture
def data(tmp_path: Path) -> DataOptions:
    """Samples, of which some are set apart."""
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(2).standard_normal((192, 16)).astype(np.float32))
    return DataOptions(calibration=tmp_path / "data.npz")


def expected(observer: Observer) -> dict[str, int]:
    """How often each stage is expected to run."""
    assert observer.forecast is not None
    return {stage.name: stage.runs for stage in observer.forecast.stages}


def require_as_expected(observer: Observer) -> None:
    """No stage runs that wasn't expected, and each as often.

    The second of two refits may be spared, and so may measuring weights that finetuning didn't better.
    """
    foreseen = expected(observer)
    assert observer.runs.keys() == foreseen.keys()
    for name, runs in observer.runs.items():
        assert runs == foreseen[name] or (name in ("refit", "measure") and 2 * runs >= foreseen[name])
    assert observer.lefts
    assert all(left >= 0 for left in observer.lefts)


def test_compress(model: Path, data: DataOptions, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    observer = Observer()
    options = CompressOptions(goal=Goal(sparsity=0.75), data=data, finetune=FinetuneOptions(steps=2, lr=1e-4))
    result = compress(model, tmp_path / "out.onnx", options, observer)
    assert result.forecast is observer.forecast
    require_as_expected(observer)
    assert expected(observer)["finetune"] == 1


@pytest.mark.parametrize("finetunes", [True, False])
def test_drawing_is_a_stage(finetunes: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All samples are drawn in it, and none afterwards but those of finetuning."""
    from domino_onnx.stages import drawing, laboratory
    from domino_onnx.synthesis import Synthesis

    if finetunes:
        pytest.importorskip("torch")
    monkeypatch.setattr(drawing, "_MOST", 256)
    places, real, draws = [], Synthesis.sample, laboratory.draw_ahead
    at_the_end: list[int] = []

    def drawn_now(*arguments: Any) -> None:
        draws(*arguments)
        at_the_end.append(len(places))

    def sample(self: Synthesis, place: int) -> Any:
        places.append(place)
        return real(self, place)

    monkeypatch.setattr(laboratory, "draw_ahead", drawn_now)
    monkeypatch.setattr(Synthesis, "sample", sample)
    observer, finetune = Observer(), FinetuneOptions(enabled=finetunes, steps=2, lr=1e-4)
    options = CompressOptions(goal=Goal(sparsity=0.75), finetune=finetune, run=RunOptions(threads=1))
    compress(model, tmp_path / "out.onnx", options, observer)
    require_as_expected(observer)
    assert expected(observer)["draw"] == 1
    assert set(range(256)) <= set(places[: at_the_end[0]])
    assert all(place >= 256 for place in places[at_the_end[0] :])
    assert (len(places) > at_the_end[0]) == finetunes


def test_without_finetuning(model: Path, data: DataOptions, tmp_path: Path) -> None:
    observer = Observer()
    options = CompressOptions(goal=Goal(sparsity=0.75), data=data, finetune=FinetuneOptions(enabled=False))
    compress(model, tmp_path / "out.onnx", options, observer)
    require_as_expected(observer)
    assert observer.forecast is not None
    assert not observer.forecast.finetunes


def test_search_and_apply(model: Path, data: DataOptions, tmp_path: Path) -> None:
    searching, applying = Observer(), Observer()
    found = search(model, CompressOptions(goal=Goal(sparsity=0.5), data=data), searching)
    require_as_expected(searching)
    plan = Plan.from_json(found.plan.to_json())
    apply(model, plan, tmp_path / "out.onnx", CompressOptions(data=data), applying)
    require_as_expected(applying)
    assert expected(applying)["refit"] == 1
    assert "search" not in expected(applying)


def test_sweep_tells_its_points_as_they_come(model: Path, data: DataOptions) -> None:
    observer = Observer()
    result = sweep(model, [0.75, 0.5], CompressOptions(data=data), observer)
    assert observer.runs["try"] == expected(observer)["try"] == 2
    assert [note.split(":")[0] for note in observer.notes] == [
        f"tried {100 * trial.planned_sparsity:.1f} % zeros" for trial in result.trials
    ]


def test_max_drop_tells_what_it_tried(model: Path, data: DataOptions, tmp_path: Path) -> None:
    observer = Observer()
    options = CompressOptions(goal=Goal(max_drop=0.3), data=data, finetune=FinetuneOptions(enabled=False))
    result = compress(model, tmp_path / "out.onnx", options, observer)
    assert len(observer.notes) == len(result.trials) == observer.runs["try"] <= expected(observer)["try"]
    accepted = [trial.comparison.drop <= 0.3 for trial in result.trials]
    assert [", accepted (30.00 % allowed)" in note for note in observer.notes] == accepted
    assert [", too much (30.00 % allowed)" in note for note in observer.notes] == [not each for each in accepted]


def test_without_data_there_is_nothing_to_tell(samples: Path) -> None:
    options = CompressOptions(data=DataOptions(calibration=Path("none")))
    journal = Journal()
    preflight(open_laboratory(read(samples / "digits_resnet.onnx", options, journal), options, journal), "compress")
    assert journal.forecast is None


def test_the_share_that_can_be_pruned(domino: Run, save: Callable[..., Path], tmp_path: Path) -> None:
    """16 x 32 of 16 x 32 + 2 x 4 x 32 x 32 + 128 numbers: the others are an LSTM's, and a few of another kind."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        tiny (float[4, n, 32] x) => (float[4, n, 16] z) {
          y, h, c = LSTM <hidden_size = 32> (x, w, r, b)
          s = Squeeze (y, one)
          z = MatMul (s, a)
        }""")
    rng = np.random.default_rng(0)
    shapes = {"w": (1, 128, 32), "r": (1, 128, 32), "b": (1, 256), "a": (32, 16)}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32) / 8
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((8, 4, 1, 32)).astype(np.float32))
    words = ["--scheme", "2:4", "--data", tmp_path / "data.npz", "-o", tmp_path / "out.onnx", "--json"]
    ran = domino("compress", save(model), *words, "--no-finetune")
    assert ran.code == 0, ran.err
    forecast = json.loads(ran.out)["forecast"]
    whole = 512 + 2 * 4096 + 256 + 1
    assert forecast["prunable"] == pytest.approx(512 / whole)
    (lstm,) = forecast["unprunable"]
    assert (lstm["op"], lstm["counted"]) == ("LSTM", True)
    assert lstm["share"] == pytest.approx(2 * 4096 / whole)

"""What a run is expected to do is what it does, stage by stage; and what is said of the model is so."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from domino_onnx.errors import BudgetError, PlanError
from domino_onnx.forecast import Forecast, Remaining
from domino_onnx.options import ByteSize, CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
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


def expected(observer: Observer) -> dict[str, float]:
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
    from domino_onnx.stages import laboratory
    from domino_onnx.stages.reading import drawing
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
    assert [", accepted (0.3 allowed)" in note for note in observer.notes] == accepted
    assert [", too much (0.3 allowed)" in note for note in observer.notes] == [not each for each in accepted]


FINETUNED = FinetuneOptions(steps=40, lr=1e-4)


@pytest.mark.parametrize(
    "where", ["stages.trials.measuring.compare", "stages.finetuning.gate.measured_apart", "pipeline.pruning.write"]
)
def test_what_an_interrupted_run_kept_is_not_expected_again(
    where: str,
    model: Path,
    data: DataOptions,
    tmp_path: Path,
    interrupt: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted when the weights were solved, after finetuning, and before the file is written."""
    pytest.importorskip("torch")
    from domino_onnx.stages.forecasting import left_to_do

    def noted(*given: Any) -> Any:
        works.append(left_to_do.left_to_do(*given))
        return works[-1]

    works: list[Any] = []
    monkeypatch.setattr(sys.modules[preflight.__module__], "left_to_do", noted)
    first, again = Observer(), Observer()
    options = CompressOptions(
        goal=Goal(sparsity=0.75), data=data, finetune=FINETUNED, run=RunOptions(checkpoint_after=0, threads=1)
    )
    with interrupt(where), pytest.raises(KeyboardInterrupt):
        compress(model, tmp_path / "out.onnx", options, first)
    resumed = dataclasses.replace(options, run=dataclasses.replace(options.run, resume=True))
    compress(model, tmp_path / "out.onnx", resumed, again)
    assert not expected(again).keys() & {"search", "refit"}
    assert again.runs.keys() <= expected(again).keys()
    steps = [work.training.steps for work in works]
    assert steps == [40, 40 if where == "stages.trials.measuring.compare" else 0]


def test_trials_that_were_kept_are_not_expected_again(
    model: Path, data: DataOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages.trials import goals as trials

    real, shares, tried = trials.tried, [0.25, 0.5, 0.75], []

    def stops_at_the_third(lab: Any, budget: Any) -> Any:
        tried.append(budget)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return real(lab, budget)

    monkeypatch.setattr(trials, "tried", stops_at_the_third)
    first, again = Observer(), Observer()
    options = CompressOptions(data=data, run=RunOptions(checkpoint_after=0, threads=1))
    with pytest.raises(KeyboardInterrupt):
        sweep(model, shares, options, first)
    resumed = dataclasses.replace(options, run=dataclasses.replace(options.run, resume=True))
    sweep(model, shares, resumed, again)
    assert (expected(first)["try"], expected(again)["try"]) == (3, 1)
    assert 3 * expected(again)["refit"] == expected(first)["refit"]
    assert again.runs["try"] == 1
    assert again.runs.keys() - expected(again).keys() == {"search"}, "it is over at once where losses are known"


@pytest.mark.parametrize("goal", [Goal(sparsity=0.999), Goal(flops_reduction=0.999)])
def test_a_goal_out_of_reach_is_told_before_any_work(
    goal: Goal, model: Path, data: DataOptions, tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    options = CompressOptions(goal=goal, data=data)
    with interrupt("pipeline.pruning.preflight"), pytest.raises(BudgetError, match="can't be reached"):
        compress(model, tmp_path / "out.onnx", options)
    with interrupt("pipeline.pruning.preflight"), pytest.raises(BudgetError, match="can't be reached"):
        search(model, options)
    with interrupt("pipeline.pruning.preflight"), pytest.raises(BudgetError, match="none of these"):
        sweep(model, [0.999], CompressOptions(data=data))


def test_a_plan_of_another_file_is_told_before_any_work(
    model: Path, data: DataOptions, samples: Path, tmp_path: Path, interrupt: Callable[..., Any]
) -> None:
    plan = search(model, CompressOptions(goal=Goal(sparsity=0.5), data=data)).plan
    other = DataOptions(calibration=samples / "digits_calibration.npz")
    with interrupt("pipeline.pruning.preflight"), pytest.raises(PlanError):
        apply(samples / "digits_resnet.onnx", plan, tmp_path / "out.onnx", CompressOptions(data=other))


def test_more_memory_than_is_allowed_is_forecast(model: Path, data: DataOptions) -> None:
    for limit, over in ((ByteSize(1 << 20), True), (ByteSize(1 << 34), False)):
        observer = Observer()
        search(model, CompressOptions(goal=Goal(sparsity=0.5), data=data, run=RunOptions(memory=limit)), observer)
        assert observer.forecast is not None
        assert observer.forecast.is_over_limit == over


def test_without_data_there_is_nothing_to_tell(samples: Path) -> None:
    options = CompressOptions(data=DataOptions(calibration=Path("none")))
    journal = Journal()
    preflight(
        open_laboratory(read(samples / "digits_resnet.onnx", options, journal, "prune"), options, journal), "compress"
    )
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

"""What is seen of a run on the way: nothing of a short one, and of a long one enough to know when it ends."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest
from rich.console import Console

from domino_onnx.cli.progress import LineObserver, LiveObserver, QuietObserver
from domino_onnx.forecast import Forecast, StageCost, Unprunable


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def forecast(
    seconds: float, *, memory_available: int | None = 11_000_000_000, memory_limit: int | None = None
) -> Forecast:
    """Of a run that takes so long."""
    return Forecast(
        stages=(
            StageCost(name="refit", seconds=0.59 * seconds, runs=2),
            StageCost(name="finetune", seconds=0.4 * seconds),
            StageCost(name="write", seconds=0.01 * seconds),
        ),
        threads=1,
        memory=1_250_000_000,
        memory_available=memory_available,
        memory_limit=memory_limit,
        disk=20_000_000,
        disk_available=33_000_000_000,
        prunable=0.05,
        unprunable=(Unprunable(op="LSTM", share=0.95, reason="LSTM weights are not pruned", counted=False),),
        finetunes=True,
        may_skip_finetuning=True,
    )


LINES = """\
about 1:40 on 1 thread: refitting 0:59, finetuning 0:40; --no-finetune leaves out finetuning
needs about 1.2 GB of memory (11.0 GB free) and 20 MB of disk (33.0 GB free)
5 % of this model can be pruned; 95 % is LSTM, which this program doesn't prune
"""


def test_a_long_run_says_what_it_costs_and_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    observer = LineObserver(clock)
    observer.stage("read")
    observer.expect(forecast(100))
    assert capsys.readouterr().err == LINES
    clock.now += 5
    observer.left(80)
    observer.stage("refit")
    assert capsys.readouterr().err == "elapsed 0:05 · left 1:20 · refitting\n"
    observer.stage("refit")
    assert capsys.readouterr().err == ""
    observer.note("tried 50.0 % zeros: 0.40 points of top-1 are lost")
    assert capsys.readouterr().err == "tried 50.0 % zeros: 0.40 points of top-1 are lost\n"


@pytest.mark.parametrize(
    ("share", "said"), [(0.5, "50 %"), (0.9993, "nearly all"), (0.995, "nearly all"), (0.99, "99 %"), (1.0, "100 %")]
)
def test_all_of_a_model_is_said_of_all_alone(share: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    LineObserver(Clock()).expect(dataclasses.replace(forecast(100), prunable=share, unprunable=()))
    assert capsys.readouterr().err.splitlines()[-1] == f"{said} of this model can be pruned"


def test_a_stage_around_others_is_announced_once(capsys: pytest.CaptureFixture[str]) -> None:
    observer = LineObserver(Clock())
    observer.expect(forecast(100))
    capsys.readouterr()
    for name in ("search", "draw", "search", "outputs", "search", "refit", "search", "refit"):
        observer.stage(name)
    assert [line.rsplit(" · ")[-1] for line in capsys.readouterr().err.splitlines()] == [
        "choosing schemes",
        "drawing samples",
        "looking at the outputs",
        "refitting",
    ]
    assert observer.doing == "refitting"


def test_a_short_run_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    observer = LineObserver(clock)
    observer.expect(forecast(19.9))
    observer.left(19)
    observer.stage("refit")
    observer.progress(1, 2, "a layer")
    observer.note("tried 50.0 % zeros")
    clock.now += 19
    observer.stage("write")
    assert capsys.readouterr().err == ""


def test_what_was_found_before_a_run_became_long_is_told_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    observer = LineObserver(clock)
    observer.note("tried 50.0 % zeros")
    clock.now += 21
    observer.stage("refit")
    assert capsys.readouterr().err == "tried 50.0 % zeros\nelapsed 0:21 · refitting\n"


def test_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    told = threading.Event()

    class Listening(LineObserver):
        def line(self, text: str, style: str = "") -> None:
            super().line(text, style)
            told.set()

    with Listening(every=0.01) as observer:
        observer.expect(forecast(100))
        observer.stage("finetune")
        observer.progress(3, 10, "loss 0.5")
        told.clear()
        assert told.wait(10)
    assert "finetuning: loss 0.5" in capsys.readouterr().err


def test_quiet_tells_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    observer = QuietObserver()
    observer.expect(forecast(1000))
    observer.stage("refit")
    observer.left(3)
    observer.progress(1, 2, "a layer")
    observer.note("tried 50.0 % zeros")
    observer.warn("few samples")
    assert capsys.readouterr().err == "warning: few samples\n"


def test_a_terminal_has_one_live_line_and_lines_above_it() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system=None, legacy_windows=False)
    with LiveObserver(console) as observer:
        observer.expect(forecast(100))
        observer.stage("refit")
        observer.left(80)
        observer.progress(2, 20, "layer3.conv1 with a name that is much too long for this terminal")
        observer.warn("few samples")
        drawn = console.render_lines(observer._drawn(), pad=False)
    (line,) = drawn
    text = "".join(segment.text for segment in line)
    assert "elapsed 0:00 · left 1:20 · refitting: layer3" in text
    assert len(text) <= 60
    assert console.file.getvalue().count("warning: few samples") == 1


@pytest.mark.parametrize(("seconds", "start"), [(100, "needs"), (5, "warning: needs")])
def test_more_memory_than_is_allowed_is_said(seconds: float, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    LineObserver(Clock()).expect(forecast(seconds, memory_limit=1_000_000_000))
    said = "about 1.2 GB of memory (11.0 GB free), more than the 1.0 GB of --memory: a smaller --batch-size takes less,"
    assert f"{start} {said} and 20 MB of disk" in capsys.readouterr().err
    LineObserver(Clock()).expect(forecast(5, memory_limit=2_000_000_000))
    assert not capsys.readouterr().err


def test_too_little_memory_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    LineObserver(Clock()).expect(forecast(100, memory_available=1_300_000_000))
    assert "1.2 GB of memory (1.3 GB free, which is short: --memory or fewer --data" in capsys.readouterr().err

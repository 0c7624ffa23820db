"""What is left of a run, on runs whose whole course is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.forecast import Forecast, Remaining, StageCost


def forecast(*stages: StageCost) -> Forecast:
    """Of these stages."""
    return Forecast(
        stages=stages,
        threads=1,
        memory=0,
        memory_available=None,
        memory_limit=None,
        disk=0,
        disk_available=None,
        prunable=1.0,
        unprunable=(),
        finetunes=False,
        may_skip_finetuning=False,
    )


def stage(name: str, seconds: float, runs: float = 1, shares: tuple[float, ...] = ()) -> StageCost:
    """What is expected of a stage."""
    return StageCost(name=name, seconds=seconds, runs=runs, shares=shares)


def run(remaining: Remaining, name: str, start: float, seconds: float) -> float:
    """A stage that takes so long, and says nothing on the way; when it ends."""
    remaining.begin(name, start)
    remaining.end(start + seconds)
    return start + seconds


def test_a_run_as_expected_counts_down() -> None:
    remaining = Remaining(forecast(stage("search", 30), stage("refit", 60), stage("write", 10)))
    assert remaining.seconds(0) == 100
    remaining.begin("search", 0)
    assert remaining.seconds(10) == 90
    remaining.end(30)
    assert remaining.seconds(30) == pytest.approx(70)
    now = run(remaining, "refit", 30, 60)
    assert remaining.seconds(now) == pytest.approx(10)
    assert remaining.seconds(run(remaining, "write", now, 10)) == 0


def test_a_slow_machine_is_slow_in_what_follows() -> None:
    remaining = Remaining(forecast(stage("search", 50), stage("refit", 50)))
    run(remaining, "search", 0, 150)
    assert 100 < remaining.seconds(150) < 150


def test_the_pace_inside_a_stage_replaces_the_forecast() -> None:
    remaining = Remaining(forecast(stage("refit", 10)))
    remaining.begin("refit", 0)
    for done in range(1, 6):
        remaining.advance(done, 10, 8.0 * done)
    assert remaining.seconds(40) == pytest.approx(40)
    assert remaining.seconds(44) == pytest.approx(36)


def test_layers_that_cost_more_count_more() -> None:
    """Three small layers, then one that takes nine tenths of the time."""
    remaining = Remaining(forecast(stage("refit", 40, shares=(0.02, 0.05, 0.1, 1.0))))
    remaining.begin("refit", 0)
    for done, now in enumerate((2, 5, 10), start=1):
        remaining.advance(done, 4, now)
    assert remaining.seconds(10) == pytest.approx(90 * 0.32 + 30 * 0.68)


def test_runs_that_were_seen_tell_of_those_to_come() -> None:
    remaining = Remaining(forecast(stage("try", 40, runs=4)))
    now = run(remaining, "try", 0, 20)
    now = run(remaining, "try", now, 20)
    assert remaining.seconds(now) == pytest.approx(2 * (0.5 * 10 + 40) / 2.5)


def test_a_run_more_than_expected_counts_nothing() -> None:
    """Losses are measured once; plans are chosen by them again and again, which takes no time."""
    remaining = Remaining(forecast(stage("search", 50), stage("refit", 40, runs=2)))
    now = run(remaining, "refit", run(remaining, "search", 0, 50), 20)
    remaining.begin("search", now)
    assert remaining.seconds(now) == pytest.approx(20)


def test_a_stage_inside_another_stops_its_clock() -> None:
    remaining = Remaining(forecast(stage("outputs", 5), stage("search", 20)))
    remaining.begin("search", 0)
    remaining.begin("outputs", 1)
    assert remaining.seconds(3) == pytest.approx(3 + 19)
    remaining.end(6)
    remaining.advance(1, 2, 16)
    assert remaining.seconds(16) == pytest.approx(9)
    remaining.end(25)
    assert remaining.seconds(25) == 0


def test_what_was_left_out_is_over_when_the_file_is_written() -> None:
    remaining = Remaining(forecast(stage("refit", 50, runs=2), stage("finetune", 100), stage("write", 4)))
    now = run(remaining, "refit", 0, 25)
    remaining.begin("write", now)
    assert remaining.seconds(now) <= 4.5


def test_a_stage_that_takes_longer_is_never_over_early() -> None:
    remaining = Remaining(forecast(stage("finetune", 10)))
    remaining.begin("finetune", 0)
    assert 0 < remaining.seconds(1000) < 1


def test_stages_that_were_not_forecast_change_nothing() -> None:
    remaining = Remaining(forecast(stage("write", 4)))
    remaining.begin("draw", 0)
    remaining.advance(1, 2, 5)
    assert remaining.seconds(5) == 4
    remaining.end(10)
    assert remaining.seconds(10) == 4
    remaining.end(11)  # a stage that began before the forecast was made


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(["search", "refit", "write", "other"])),
        st.tuples(st.just("advance"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.none()),
    ),
    max_size=30,
)


@given(_EVENTS, st.lists(st.floats(0, 50), min_size=30, max_size=30))
def test_it_is_a_length_of_time_whatever_happens(events: list[tuple[str, str | int | None]], gaps: list[float]) -> None:
    remaining = Remaining(forecast(stage("search", 10), stage("refit", 20, runs=2), stage("write", 1)))
    now = 0.0
    for (what, value), gap in zip(events, gaps, strict=False):
        now += gap
        if isinstance(value, str):
            remaining.begin(value, now)
        elif what == "advance" and value is not None:
            remaining.advance(value, 5, now)
        else:
            remaining.end(now)
        assert 0 <= remaining.seconds(now) < 1e4


def test_what_is_known_of_a_stage_on_the_way_counts() -> None:
    remaining = Remaining(forecast(stage("search", 10), stage("refit", 30, runs=1.5)))
    assert remaining.seconds(0) == 40
    remaining.begin("search", 0)
    remaining.correct("refit", -0.5)
    assert remaining.seconds(0) == pytest.approx(30)
    remaining.correct("refit", 1)
    assert remaining.seconds(0) == pytest.approx(50)
    remaining.correct("write", 1)
    remaining.end(10)
    now = run(remaining, "refit", 10, 20)
    assert remaining.seconds(now) == pytest.approx(20)

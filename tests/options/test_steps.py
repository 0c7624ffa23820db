"""How many steps finetuning takes follows from options, samples and time, in this order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.errors import OptionError
from domino_onnx.options import (
    CompressOptions,
    Duration,
    FinetuneOptions,
    Pace,
    looks_within,
    overridden,
    planned_steps,
    trial_steps,
)

PACES = st.builds(Pace, step=st.floats(1e-4, 100), look=st.floats(0, 100), spent=st.floats(0, 1000))
TIMES = st.integers(1, 100_000).map(Duration)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1.5h", 5400), (" 2 m ", 120), ("0.5m", 30)]
)
def test_a_time_is_read(text: str, seconds: int) -> None:
    assert Duration.parse(text) == Duration(seconds)


@pytest.mark.parametrize("text", ["", "10", "10 minutes", "m", "-1m", "1e3s", "0s", "0.2s", "1h30m", "9" * 8 + "h"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(OptionError, match=r"90s, 10m or 1h|give 1s to 10000h"):
        Duration.parse(text)


@given(st.integers(1, 36_000_000))
def test_a_time_is_read_back_as_it_is_written(seconds: int) -> None:
    assert Duration.parse(str(Duration(seconds))) == Duration(seconds)


def test_steps_and_time_contradict_each_other_and_replace_each_other() -> None:
    with pytest.raises(OptionError, match="--finetune-steps and --finetune-time contradict"):
        FinetuneOptions(steps=3, time=Duration(60))
    exact = overridden(CompressOptions(), {"finetune.steps": 3})
    timed = overridden(exact, {"finetune.time": Duration(60)})
    assert (timed.finetune.steps, timed.finetune.time) == (None, Duration(60))
    assert overridden(timed, {"finetune.steps": 3}) == exact


@pytest.mark.parametrize(("epoch", "steps"), [(1, 2000), (83, 2000), (84, 2016), (280, 6720), (10**6, 20_000)])
def test_the_samples_decide_within_limits(epoch: int, steps: int) -> None:
    planned = planned_steps(FinetuneOptions(), epoch)
    assert (planned.steps, planned.decided_by) == (steps, "samples")


@given(st.integers(1, 10**6), PACES, st.integers(1, 10**6))
def test_steps_that_are_asked_for_are_exact(epoch: int, pace: Pace, steps: int) -> None:
    planned = planned_steps(FinetuneOptions(steps=steps), epoch, pace)
    assert (planned.steps, planned.decided_by) == (steps, "options")


@pytest.mark.parametrize(
    ("steps", "looks", "tried"),
    [
        (1, 1, 1),
        (3, 3, 1),
        (14, 4, 3),
        (40, 4, 10),
        (79, 7, 19),
        (80, 8, 20),
        (200, 20, 20),
        (2000, 20, 80),
        (9999, 20, 80),
    ],
)
def test_few_steps_have_few_looks_and_short_trials(steps: int, looks: int, tried: int) -> None:
    """Where each takes long, they would leave no time for the training itself."""
    assert (looks_within(steps), trial_steps(steps)) == (looks, tried)


def test_expensive_looks_leave_time_for_steps() -> None:
    """A file-type network on a busy core had 10 steps in ten minutes: twenty looks took five."""
    planned = planned_steps(FinetuneOptions(), 32, Pace(step=4.0, look=15.0, spent=30.0))
    assert planned.steps == 55  # 55 + 4 * 13 steps of 4 s, 5 + 4 looks of 15 s, 30 s before


@given(st.integers(1, 10**4), PACES, TIMES)
def test_with_a_rate_the_steps_and_the_looks_fill_the_time_and_no_more(epoch: int, pace: Pace, time: Duration) -> None:
    planned = planned_steps(FinetuneOptions(lr=1e-3, time=time), epoch, pace)

    def needed(steps: int) -> float:
        return pace.spent + steps * pace.step + looks_within(steps) * pace.look

    if planned.decided_by == "samples":
        assert planned == planned_steps(FinetuneOptions(lr=1e-3), epoch)
        assert needed(planned.steps) <= time.seconds * (1 + 1e-9)
    elif planned.steps > 1:
        assert needed(planned.steps) <= time.seconds * (1 + 1e-9)
        assert needed(planned.steps + 1) >= time.seconds * (1 - 1e-9)


@given(st.integers(1, 10**4), PACES, TIMES)
def test_trying_rates_takes_from_the_time(epoch: int, pace: Pace, time: Duration) -> None:
    tried = planned_steps(FinetuneOptions(time=time), epoch, pace).steps
    assert tried <= planned_steps(FinetuneOptions(lr=1e-3, time=time), epoch, pace).steps

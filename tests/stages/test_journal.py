"""The journal's clock: a stage inside another counts once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from domino_onnx.api.progress import Progress, Spokesman
from domino_onnx.stages import Journal


def test_seconds_add_up_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float] = iter([0.0, 2.0, 5.0, 10.0, 20.0, 21.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    journal = Journal()
    with journal.stage("search"), journal.stage("outputs"):
        pass
    with journal.stage("search"):
        pass
    assert journal.seconds == {"outputs": 3.0, "search": 7.0 + 1.0}


def test_the_stage_around_another_goes_on() -> None:
    told: list[Progress] = []
    journal = Journal(Spokesman(None, told.append, str))
    with journal.stage("search"):
        with journal.stage("outputs"):
            journal.progress(1, 2, "a batch")
        journal.progress(1, 2, "a weight")
    stages = [(each.stage, each.text) for each in told]
    assert stages == [("search", ""), ("outputs", ""), ("outputs", "a batch"), ("search", ""), ("search", "a weight")]


def test_a_reason_is_told_once() -> None:
    journal = Journal()
    journal.warn("nothing is measured", "it can't be run")
    journal.warn("nothing is refitted", "it can't be run")
    journal.warn("nothing is refitted", "there is no room")
    assert journal.warnings == (
        "nothing is measured: it can't be run",
        "nothing is refitted, for the reason given above",
        "nothing is refitted: there is no room",
    )


def test_the_whole_run_counts_what_lies_between_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    journal = Journal()
    journal.resume({"read": 2.0, "refit": 5.0}, {}, ())
    now = 111.0
    assert journal.whole == 2 + 5 + 11

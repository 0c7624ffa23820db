"""The journal's clock: a stage inside another counts once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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

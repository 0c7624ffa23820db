"""Times of runs, on clocks of any step."""

from __future__ import annotations

import pytest

from domino_onnx.deployment import measure


@pytest.mark.parametrize("step", [1 / 64, 1e-9])
def test_runs_shorter_than_a_step_of_the_clock(step: float) -> None:
    """As Windows counts the processor's time. Here the clock moves with the runs alone, 1 and 3 ms each."""
    now = 0.0

    def work(seconds: float) -> None:
        nonlocal now
        now += seconds

    taken = measure([lambda: work(1e-3), lambda: work(3e-3)], 0.0, lambda: now // step * step)
    assert [each.median for each in taken] == pytest.approx([1e-3, 3e-3], rel=0.15)
    assert all(each.low > 0 for each in taken)

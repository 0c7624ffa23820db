"""What is kept of drawn samples: the first, or of a stream the newest, and never more than there is room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.synthesis import samples
from domino_onnx.synthesis.samples import KeptSamples


@pytest.mark.parametrize(("moving", "again"), [(False, {7, 8, 9}), (True, {0, 1, 2, 3, 4, 5, 6})])
def test_so_many_are_kept_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch, moving: bool, again: set[int]) -> None:
    drawn: list[int] = []

    def draw(place: int) -> dict[str, np.ndarray[Any, Any]]:
        drawn.append(place)
        return {"x": np.full(100, place, np.uint8)}

    room = 7 if not moving else 3
    monkeypatch.setattr(samples, "KEPT_BYTES", 100 * room + 50)
    kept = KeptSamples(draw, moving=moving)
    assert [int(kept[place]["x"][0]) for place in range(10)] == list(range(10))
    assert len(kept._kept) == room
    drawn.clear()
    for place in sorted(range(10), key=lambda place: place in again):
        assert kept[place]["x"][0] == place
    assert set(drawn) == again
    assert len(kept._kept) == room

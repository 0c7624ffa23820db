"""Samples that other processes draw are those that this one would draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.data import input_specs
from domino_onnx.graph import read_model
from domino_onnx.synthesis import Synthesis, open_synthesis
from domino_onnx.synthesis.ahead import DrawnAhead


@pytest.fixture
def synthesis(make_model: Callable[..., ModelProto], save: Callable[..., Path]) -> Synthesis:
    path = save(
        make_model([helper.make_node("Flatten", ["x"], ["y"])], {"x": ["n", 3, 48, 48]}, {"y": ["n", 6912]}, {})
    )
    file = read_model(path)
    return open_synthesis(file, input_specs(file.proto), seed=3)


def test_children_draw_what_is_asked_for_in_order_and_nothing_is_lost_with_them(synthesis: Synthesis) -> None:
    ahead = DrawnAhead(synthesis, 5, processes=2)

    def right(*places: int) -> bool:
        return all(np.array_equal(ahead(place)["x"], synthesis.sample(place)["x"]) for place in places)

    assert right(2)
    assert not ahead._children
    assert right(5, 6, 7)
    first, second = ahead._children
    assert right(3, 8, 12, 9)
    second.kill()
    second.wait()
    assert right(*range(10, 30))
    assert not ahead._children
    assert first.poll() is not None


def test_children_run_no_code_of_the_folder_they_start_in(
    synthesis: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.chdir(tmp_path)
    ahead = DrawnAhead(synthesis, 5, processes=1)
    for place in range(5, 8):
        np.testing.assert_array_equal(ahead(place)["x"], synthesis.sample(place)["x"])
    assert ahead._children
    assert not Path("ran").exists()


def test_children_end_with_what_they_draw_for(synthesis: Synthesis) -> None:
    stream = synthesis.stream(4, 4, window=8, fresh=2, processes=1)
    taken = stream.data.take(np.arange(4, 8))["x"]
    np.testing.assert_array_equal(taken, synthesis.take(np.arange(8, 12))["x"])
    (child,) = stream.data.arrays["x"].kept._draw._children  # type: ignore[attr-defined]
    del stream
    assert child.wait(10) is not None

"""Whatever memory is allowed, the same numbers come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from domino_onnx.data import Split
from domino_onnx.finetuning.networks import Networks
from domino_onnx.reconstruction import Network, SensitivityOptions, measure_sensitivity, reconstruct
from domino_onnx.runtime import Room, Scratch
from domino_onnx.scheme import NMScheme, SchemePool

Setup = Callable[..., Any]
POOL = SchemePool.fixed_m(4)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Room:
    """Room for no activation at all: every array of any size goes to the disk."""
    monkeypatch.setattr("domino_onnx.runtime.room.LEAST", 0)
    monkeypatch.setattr("domino_onnx.runtime.scratch._SMALL", 0)
    return Room(memory=0, folder=tmp_path)


@pytest.fixture
def images(samples: Path) -> NDArray[np.float32]:
    with np.load(samples / "digits_calibration.npz") as data:
        return np.asarray(data["image"][:48])


def network(made: Any, room: Room) -> Network:
    return Network(made.file, made.inventory, made.data, batch_size=8, threads=1, room=room)


@pytest.mark.parametrize("name", ["small_digits", "digits_transformer"])
def test_refit_and_search(
    name: str, small_digits: Path, samples: Path, setup: Setup, images: Any, narrow: Room
) -> None:
    model = small_digits if name == "small_digits" else samples / f"{name}.onnx"
    made = setup(model, {"image": images}, pool=POOL)
    wide, tight = network(made, Room()), network(made, narrow)
    options = SensitivityOptions(points=1, rule="magnitude")
    losses = [measure_sensitivity(each, made.inventory, made.load, options).losses for each in (wide, tight)]
    assert losses[0] == losses[1]
    schemes = made.everywhere(NMScheme(2, 4))
    found = [reconstruct(each, schemes, "magnitude") for each in (wide, tight)]
    assert found[0].divergence == found[1].divergence
    for key, value in found[0].values.items():
        np.testing.assert_array_equal(value, found[1].values[key])


def test_blocks(samples: Path, setup: Setup, images: Any, narrow: Room) -> None:
    made = setup(samples / "digits_resnet.onnx", {"image": images}, pool=POOL)
    weights = made.by_magnitude(made.everywhere(NMScheme(2, 4)))
    split = Split.of(made.data, evaluation=None, seed=0)
    both = [
        Networks(made.file, split, weights, {}, batch_size=8, most_weights=4, device="cpu", threads=1, room=room)
        for room in (Room(), narrow)
    ]
    for block in range(1, 3):
        wide, tight = ([dict(each) for each in side.pass_dense(block)] for side in both)
        for expected, got in zip(wide, tight, strict=True):
            assert expected.keys() == got.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(array, got[name])
        for side in both:
            side.pass_pruned(block)


def test_activations_beyond_the_budget_are_on_the_disk(
    small_digits: Path, setup: Setup, images: Any, narrow: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Scratch] = []
    scratch = Room.scratch
    monkeypatch.setattr(Room, "scratch", lambda self, working: kept.append(scratch(self, working)) or kept[-1])
    made = setup(small_digits, {"image": images}, pool=POOL)
    reconstruct(network(made, narrow), made.everywhere(NMScheme(2, 4)), "magnitude")
    assert [each.in_memory for each in kept] == [0]
    assert kept[0].written > 10 * images.nbytes
